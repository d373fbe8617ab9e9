"""Finding documents that have one id."""

from __future__ import annotations

import hashlib
import warnings

MAX_IDS = 1_000_000
_KEPT_PLACES = 5


class IdCheck:
    """Notes the ids of a source, as hashes of 64 bits, and which came before.

    Memory is bounded: the first million ids are remembered, about 100 MB, and later ones are only compared
    with these.
    """

    def __init__(self) -> None:
        self.num_doubled = 0
        self._places: list[str] = []
        self._seen: set[int] = set()

    def add(self, source: str, id: str, place: str) -> None:
        """Notes the id of a document within `source`, found at `place`."""
        key = f"{source}\0{id}".encode("utf-8", "surrogatepass")
        number = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little")
        if number in self._seen:
            self.num_doubled += 1
            if len(self._places) < _KEPT_PLACES:
                self._places.append(place)
        elif len(self._seen) < MAX_IDS:
            self._seen.add(number)

    def warn(self, name: str) -> None:
        """Warns where ids came more than once."""
        if self.num_doubled:
            bound = "" if len(self._seen) < MAX_IDS else f" (compared with the first {MAX_IDS:,} ids only)"
            warnings.warn(f"{name}: {self.num_doubled:,} documents have an id that another has{bound}, first "
                          f"at {', '.join(self._places)}; ids should be distinct", stacklevel=4)
