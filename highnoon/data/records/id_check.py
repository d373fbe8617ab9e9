"""Detects duplicate ids."""

from __future__ import annotations

import hashlib
import warnings

MAX_IDS = 1_000_000


class IdCheck:
    """Stores the ids of a source as 64-bit hashes.

    Memory is bounded: the first million ids are stored, about 100 MB. Later ids are only compared with these,
    with a warning.
    """

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._is_full = False

    def is_doubled(self, *key: str) -> bool:
        """Returns whether an id was seen before, and stores it.

        Args:
            key: Everything that identifies the record, such as file, source and the id itself.
        """
        joined = "\0".join(key).encode("utf-8", "surrogatepass")
        number = int.from_bytes(hashlib.blake2b(joined, digest_size=8).digest(), "little")
        if number in self._seen:
            return True
        if len(self._seen) < MAX_IDS:
            self._seen.add(number)
        elif not self._is_full:
            self._is_full = True
            warnings.warn(
                f"the first {MAX_IDS:,} ids are stored, and later records are compared with these only; to "
                f"check all, prepare the source in parts",
                stacklevel=2,
            )
        return False
