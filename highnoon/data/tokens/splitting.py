"""The split into training and validation documents, by a hash of each text."""

from __future__ import annotations

import hashlib

from highnoon.config import require_number
from highnoon.data.document import DataError

SPLIT_SEED = 42

_KEY = SPLIT_SEED.to_bytes(8, "little")


def split_hash(text: str) -> int:
    """Returns the 64-bit hash of (seed 42, text) that determines the side of the split.

    A text is held out if its hash is below `split_threshold`. So it never changes sides when other texts are
    added or removed, and equal texts are on the same side.
    """
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8, key=_KEY).digest(), "little")


def split_threshold(validation_split: float) -> int:
    """Returns the number below which a `split_hash` is held out: the fraction of all 64-bit numbers.

    Raises:
        DataError: If `validation_split` is not in [0, 1).
    """
    fraction = require_number("validation_split", validation_split, least=0, below=1, error=DataError)
    return int(fraction * 2.0**64)
