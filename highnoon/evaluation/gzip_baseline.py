"""Bits per byte of a general-purpose compressor: a baseline that a trained model should beat."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

GZIP_FORMAT = 31
HIGHEST_LEVEL = 9


def gzip_bits_per_byte(texts: Iterable[str]) -> float:
    """Returns the bits per byte of `gzip -9` on the texts, compressed as one stream.

    `8 * compressed_bytes / bytes`, header and checksum included. With one stream the compressor uses
    earlier texts as context, which makes the strongest baseline.

    Args:
        texts: Any number of strings; their UTF-8 bytes are joined without a separator, as a model's
            bits per byte counts them.

    Raises:
        ValueError: the texts are empty.

    Example:

    ```python
    from highnoon.evaluation import gzip_bits_per_byte

    assert gzip_bits_per_byte(["all work and no play " * 1000]) < 0.1
    ```
    """
    compressor = zlib.compressobj(HIGHEST_LEVEL, wbits=GZIP_FORMAT)
    num_bytes = num_compressed = 0
    for text in texts:
        raw = text.encode("utf-8")
        num_bytes += len(raw)
        num_compressed += len(compressor.compress(raw))
    if not num_bytes:
        raise ValueError("expected texts with at least one byte to compress; received none")
    num_compressed += len(compressor.flush())
    return 8 * num_compressed / num_bytes
