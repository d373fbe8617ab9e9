"""The split into training and validation documents, by a hash of each text."""

from __future__ import annotations

import hashlib
from typing import Any

from highnoon.config import require_number
from highnoon.data.document import DataError, Document

SPLIT_SEED = 42

_KEY = SPLIT_SEED.to_bytes(8, "little")


def split_hash(text: str) -> int:
    """Returns the 64-bit hash of (seed 42, text) that determines the side of the split.

    A text is held out if its hash is below `split_threshold`. So it never changes sides when other texts are
    added or removed, and equal texts are on the same side.
    """
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8, key=_KEY).digest(), "little")


def document_hash(document: Document) -> int:
    """Returns the number that determines the side of the split of a document.

    It is the `split_hash` of its text, unless its source gave `Document.split_hash`: then documents with
    equal numbers are on the same side, whatever their texts are.

    Example:

    ```python
    from highnoon.data.document import Document
    from highnoon.data.tokens.splitting import document_hash, split_hash
    first, second = (Document(f"2 + 2 = {answer}", split_hash=split_hash("2 + 2 =")) for answer in "4x")
    assert document_hash(first) == document_hash(second) != document_hash(Document(first.text))
    ```
    """
    return split_hash(document.text) if document.split_hash is None else document.split_hash


def has_split_hashes(source: Any) -> bool:
    """Returns whether a source, or the one that it wraps, gives each document its `split_hash`."""
    while source is not None and not getattr(source, "has_split_hashes", False):
        source = getattr(source, "source", None)
    return source is not None


def split_threshold(validation_split: float) -> int:
    """Returns the number below which a `split_hash` is held out: the fraction of all 64-bit numbers.

    Raises:
        DataError: If `validation_split` is not in [0, 1).
    """
    fraction = require_number("validation_split", validation_split, least=0, below=1, error=DataError)
    return int(fraction * 2.0**64)
