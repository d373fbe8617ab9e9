"""The seven special tokens that every HighNoon tokenizer starts with, and the ids of bytes after them."""

from __future__ import annotations

SPECIAL_TOKENS: tuple[str, ...] = (
    "<|pad|>",
    "<|unk|>",
    "<|bos|>",
    "<|eos|>",
    "<|sep|>",
    "<|cls|>",
    "<|mask|>",
)
PAD_ID, UNK_ID, BOS_ID, EOS_ID, SEP_ID, CLS_ID, MASK_ID = range(7)

FIRST_BYTE_ID = len(SPECIAL_TOKENS)
NUM_BYTE_IDS = 256
SMALLEST_VOCAB_SIZE = FIRST_BYTE_ID + NUM_BYTE_IDS
