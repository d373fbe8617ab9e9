"""Compiled decoding loops: sampling, beam search, contrastive search, log-probabilities."""
