"""Tokenized documents on disk: preparation, stores, splits, tokenizer training."""
