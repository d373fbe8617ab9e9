"""Packed sequences of tokens: rows of batches, as a function of (seed, epoch, row)."""
