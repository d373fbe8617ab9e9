"""Vectors with ids and groups, in memory or memory-mapped, that can be added and removed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from highnoon.vectors.similarity import Floats, lengths

Ids = npt.NDArray[np.int64]

_ROWS_AT_ONCE = 8192


class Block(NamedTuple):
    """Some rows of an index.

    Args:
        ids: (r,).
        groups: (r,).
        vectors: (r, d).
        is_live: (r,) whether a vector has not been removed.
    """

    ids: Ids
    groups: Ids
    vectors: Floats
    is_live: npt.NDArray[np.bool_]


class StoredVectors:
    """Rows of vectors. A removed row keeps its index until the vectors are saved.

    Args:
        width: Numbers of a vector.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self._parts: list[Floats] = []
        self._starts = np.zeros(0, np.int64)
        self.ids: Ids = np.zeros(0, np.int64)
        self.groups: Ids = np.zeros(0, np.int64)
        self.is_live: npt.NDArray[np.bool_] = np.zeros(0, np.bool_)
        self._highest = -1
        self._longest, self._num_measured = 0.0, 0

    def __len__(self) -> int:
        return int(np.count_nonzero(self.is_live))

    @property
    def num_rows(self) -> int:
        """Rows, those of removed vectors included."""
        return len(self.ids)

    def append(self, ids: Ids, groups: Ids, vectors: Floats) -> None:
        """Adds rows, which are not copied. The caller has checked them."""
        if not len(ids):
            return
        self._starts = np.append(self._starts, self.num_rows)
        self._parts.append(vectors)
        self.ids = np.concatenate((self.ids, ids))
        self.groups = np.concatenate((self.groups, groups))
        self.is_live = np.concatenate((self.is_live, np.ones(len(ids), np.bool_)))
        self._highest = max(self._highest, int(ids.max()))

    def known_id(self, ids: Ids) -> int | None:
        """Returns one of `ids` that has a vector, or None."""
        if int(ids.min(initial=self._highest + 1)) > self._highest:
            return None
        known = ids[np.isin(ids, self.ids[self.is_live])]
        return int(known[0]) if len(known) else None

    def remove(self, is_removed: npt.NDArray[np.bool_]) -> int:
        """Removes the rows of a mask, and returns how many were live."""
        removed = self.is_live & is_removed
        self.is_live = self.is_live & ~removed
        return int(np.count_nonzero(removed))

    def take(self, rows: npt.NDArray[np.int64]) -> Floats:
        """Returns the vectors of some rows, (n, d)."""
        vectors = np.empty((len(rows), self.width), np.float32)
        part_of = np.searchsorted(self._starts, rows, side="right") - 1
        for part in np.unique(part_of).tolist():
            chosen = np.flatnonzero(part_of == part)
            vectors[chosen] = self._parts[part][rows[chosen] - self._starts[part]]
        return vectors

    def blocks(self, most_rows: int) -> Iterator[Block]:
        """Yields all rows in blocks of at most `most_rows`; blocks without a live row are left out."""
        for start, part in zip(self._starts.tolist(), self._parts, strict=True):
            for begin in range(0, len(part), most_rows):
                vectors = part[begin : begin + most_rows]
                rows = slice(start + begin, start + begin + len(vectors))
                if self.is_live[rows].any():
                    yield Block(self.ids[rows], self.groups[rows], np.asarray(vectors), self.is_live[rows])

    def longest(self) -> float:
        """Returns the length of the longest vector, 0 without vectors; each is measured once."""
        for part in self._parts[self._num_measured :]:
            for begin in range(0, len(part), _ROWS_AT_ONCE):
                self._longest = max(self._longest, float(lengths(part[begin : begin + _ROWS_AT_ONCE]).max()))
        self._num_measured = len(self._parts)
        return self._longest

    def rows_by_id(self) -> npt.NDArray[np.int64]:
        """Returns the live rows in the order of their ids."""
        live = np.flatnonzero(self.is_live)
        return live[np.argsort(self.ids[live])]
