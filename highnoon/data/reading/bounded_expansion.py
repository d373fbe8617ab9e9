"""Refuses packed files that unpack to far more than any text does: decompression bombs."""

from __future__ import annotations

import io
from typing import IO, Any

from highnoon.data.bad_records import BadRecordError

# Text shrinks to a tenth, logs and tables to a hundredth; a bomb shrinks to a thirty-thousandth.
MAX_EXPANSION = 1_000
FREE_BYTES = 64 << 20


class BoundedExpansion(io.RawIOBase):
    """The bytes of a packed stream, while they are at most 64 MiB or 1,000 times its packed bytes.

    Args:
        unpacked: The stream that unpacks.
        packed: The stream that it reads, for its position.
        name: Of the file, for errors.

    Raises:
        BadRecordError: while reading, there are more.
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
                f"{self._name} unpacks to more than {MAX_EXPANSION:,} times its size, as no text does; if "
                f"it is sound, unpack it and give the unpacked file",
                "rest of a file that unpacks too far",
                self._name,
            )
        return size

    def close(self) -> None:
        if not self.closed:
            self._unpacked.close()
        super().close()
