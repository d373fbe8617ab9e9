"""Speculative decoding with a draft model or by prompt lookup."""
