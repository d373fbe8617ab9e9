"""Finding rows that have one id."""

from __future__ import annotations

import hashlib

MAX_IDS = 1_000_000


class IdCheck:
    """Remembers the ids of a source, as hashes of 64 bits.

    Memory is bounded: the first million ids are remembered, about 100 MB, and later ones are only compared
    with these.
    """

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def is_doubled(self, source: str, id: str) -> bool:
        """Returns whether an id came before within `source`, and remembers it."""
        key = f"{source}\0{id}".encode("utf-8", "surrogatepass")
        number = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little")
        if number in self._seen:
            return True
        if len(self._seen) < MAX_IDS:
            self._seen.add(number)
        return False
