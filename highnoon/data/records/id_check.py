"""Finding records that have one id."""

from __future__ import annotations

import hashlib
import warnings

MAX_IDS = 1_000_000


class IdCheck:
    """Remembers the ids of a source, as hashes of 64 bits.

    Memory is bounded: the first million ids are remembered, about 100 MB, and later ones are only compared
    with these, with a warning.
    """

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._is_full = False

    def is_doubled(self, *key: str) -> bool:
        """Returns whether an id came before, and remembers it.

        Args:
            key: All that tells an id from others, such as file, source and the id itself.
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
                f"the first {MAX_IDS:,} ids are remembered, and later records are compared with these "
                f"alone; to check all, prepare the source in parts",
                stacklevel=2,
            )
        return False
