"""The split into training and validation, by a hash of each document's text."""

from __future__ import annotations

import hashlib

from highnoon.config import require_number
from highnoon.data.document import DataError

SPLIT_SEED = 42

_KEY = SPLIT_SEED.to_bytes(8, "little")


def split_hash(text: str) -> int:
    """Returns the 64-bit hash of (seed 42, text) that decides on which side of the split a text lies.

    A text is held out where its hash is below `split_threshold`, so that it never changes sides as others
    come and go, and equal texts lie on one side.
    """
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8, key=_KEY).digest(), "little")


def split_threshold(validation_split: float) -> int:
    """Returns the number below which a `split_hash` is held out: the share of all 64-bit numbers.

    Raises:
        DataError: `validation_split` is not in [0, 1).
    """
    share = require_number("validation_split", validation_split, least=0, below=1, error=DataError)
    return int(share * 2.0**64)
