"""Hashes of the 1 MiB blocks of a file, to check parts of a large file independently."""

from __future__ import annotations

import hashlib
from typing import IO, Any

BLOCK_BYTES = 1 << 20
_DIGEST_BYTES = 8
_CHARACTERS = 2 * _DIGEST_BYTES


class BlockHasher:
    """Hashes a file while it is appended to.

    `text` has the hashes of all blocks in order, 16 hexadecimal digits each; the last block may be
    incomplete.
    """

    def __init__(self) -> None:
        self._finished: list[str] = []
        self._block = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        self._room = BLOCK_BYTES

    def update(self, data: bytes | memoryview) -> None:
        """Appends bytes."""
        rest = memoryview(data).cast("B")
        while len(rest):
            part, rest = rest[: self._room], rest[self._room :]
            self._block.update(part)
            self._room -= len(part)
            if not self._room:
                self._finished.append(self._block.hexdigest())
                self._block, self._room = hashlib.blake2b(digest_size=_DIGEST_BYTES), BLOCK_BYTES

    @property
    def text(self) -> str:
        return self.text_at(self.mark())

    def mark(self) -> tuple[int, str]:
        """Returns a mark with which `text_at` returns the current text later."""
        return len(self._finished), self._block.hexdigest() if self._room < BLOCK_BYTES else ""

    def text_at(self, mark: tuple[int, str]) -> str:
        """Returns the text at the time of a mark."""
        num_finished, last = mark
        return "".join(self._finished[:num_finished]) + last

    @classmethod
    def resume(cls, text: str, stream: IO[bytes], size: int) -> BlockHasher:
        """Returns a hasher that continues `text` after `size` bytes; the last block of the file is reread."""
        hasher = cls()
        num_finished = size // BLOCK_BYTES
        hasher._finished = [block_hash(text, number) for number in range(num_finished)]
        stream.seek(num_finished * BLOCK_BYTES)
        hasher.update(stream.read(size - num_finished * BLOCK_BYTES))
        return hasher


def num_blocks(size: int) -> int:
    """Returns how many blocks hold `size` bytes."""
    return -(-size // BLOCK_BYTES)


def block_hash(text: str, block: int) -> str:
    """Returns the hash of one block from `BlockHasher.text`."""
    return text[block * _CHARACTERS : (block + 1) * _CHARACTERS]


def are_block_hashes(text: Any, size: int) -> bool:
    """Returns whether a value has the form of the hashes of a file of `size` bytes."""
    return isinstance(text, str) and len(text) == _CHARACTERS * num_blocks(size)


def hash_block(data: bytes | memoryview) -> str:
    """Returns the hash of one block."""
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).hexdigest()


def changed_block(data: bytes | bytearray | memoryview, text: str, first: int = 0) -> int | None:
    """Returns the index of the first block of `data` whose hash differs, or None.

    Args:
        data: Complete blocks; the last block of the file may be incomplete.
        text: The hashes of the file.
        first: Index of the first block in `data`.
    """
    view = memoryview(data).cast("B")
    for number, start in enumerate(range(0, len(view), BLOCK_BYTES), start=first):
        if hash_block(view[start : start + BLOCK_BYTES]) != block_hash(text, number):
            return number
    return None
