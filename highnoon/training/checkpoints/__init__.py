"""Checkpoints: folders that are complete or absent; writes, reads and compares them."""
