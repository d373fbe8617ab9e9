"""Cuts the only document of a store in two, by its length."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from highnoon.tokenization import Tokenizer

_FEWEST_TOKENS = 2
_MOST_BYTES_OF_A_CHARACTER = 4


def held_out_start(num_bytes: int, validation_split: float) -> int:
    """Returns the first byte of a document that may be held out."""
    return math.ceil(num_bytes * (1 - validation_split))


def cut_document(
    tokens: npt.NDArray[np.int32], num_bytes: int, validation_split: float, tokenizer: Tokenizer
) -> tuple[int | None, int]:
    """Returns the first token of the end that is held out, and the bytes of its text.

    The end is within the last `validation_split` of the bytes, and begins with a complete character. The
    index is None if the document is too short for two tokens on each side.

    Args:
        tokens: The framed ids of the document.
        num_bytes: UTF-8 bytes of its text.
        validation_split: Fraction of the bytes to hold out.
        tokenizer: The tokenizer of the document.
    """
    most = num_bytes - held_out_start(num_bytes, validation_split)
    cut = max(_FEWEST_TOKENS, math.ceil(len(tokens) * (1 - validation_split)))
    incomplete = 0
    while cut <= len(tokens) - _FEWEST_TOKENS:
        text = tokenizer.decode_document(tokens[cut:].tolist())
        held_out = len(text.encode())
        if text.startswith("\ufffd") and incomplete < _MOST_BYTES_OF_A_CHARACTER:
            # The cut is within a character, whose other bytes are in the token before.
            incomplete += 1
            cut += 1
        elif held_out <= most:
            return cut, held_out
        else:
            # As many tokens as have the bytes in excess, and at least one.
            cut += max(1, int((held_out - most) * (len(tokens) - cut) / held_out))
    return None, 0
