"""Checkpoints: folders that are whole or absent; writing, reading, comparing them."""
