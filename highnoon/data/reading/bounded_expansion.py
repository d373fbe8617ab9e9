"""Refuses compressed files that expand far more than text does: decompression bombs."""

from __future__ import annotations

import io
from typing import IO, Any

from highnoon.data.bad_records import BadRecordError

# Text compresses to a tenth, logs and tables to a hundredth, a bomb to a thirty-thousandth.
MAX_EXPANSION = 1_000
FREE_BYTES = 64 << 20


class BoundedExpansion(io.RawIOBase):
    """The bytes of a compressed stream, up to 64 MiB or 1,000 times its compressed size.

    Args:
        unpacked: The decompressed stream.
        packed: The compressed stream that it reads, for its position.
        name: The name of the file, for errors.

    Raises:
        BadRecordError: While reading, if there are more bytes.
    """

    def __init__(self, unpacked: Any, packed: IO[bytes], name: str) -> None:
        self._unpacked = unpacked
        self._packed = packed
        self._name = name
        self._given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size: int = self._unpacked.readinto(buffer)
        self._given += size
        if self._given > FREE_BYTES and self._given > MAX_EXPANSION * self._packed.tell():
            raise BadRecordError(
                f"{self._name} expands to more than {MAX_EXPANSION:,} times its size, which text does not; "
                f"if it is correct, decompress it and use the decompressed file",
                "rest of a file that expands too far",
                self._name,
            )
        return size

    def close(self) -> None:
        if not self.closed:
            self._unpacked.close()
        super().close()
