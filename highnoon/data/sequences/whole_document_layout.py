"""The layout of rows that do not cut a document that fits into one."""

from __future__ import annotations

import bisect
import collections
from typing import NamedTuple

import numpy as np

from highnoon.data.ints import Ints
from highnoon.data.sequences.row_layout import Pieces, RowLayout, counted


class RowKind(NamedTuple):
    """Rows that hold pieces of the same lengths.

    Args:
        lengths: The lengths of the pieces, from the longest to the shortest.
        num_rows: The number of such rows.
    """

    lengths: tuple[int, ...]
    num_rows: int


class WholeDocumentLayout(RowLayout):
    """Rows of whole documents, with padding at their end.

    A document that fits into a row is in one row. A longer one is cut every `row_length` tokens, and its rest
    shares a row. Pieces are assigned by best fit, from the longest to the shortest. The assignment depends on
    the lengths alone, so the number of rows does not depend on the order of the documents; the order decides
    among those of equal length.

    Ding et al. 2024, "Fewer Truncations Improve Language Modeling" (arXiv:2404.10830), whose best fit is
    computed here for counts of lengths, as in Krell et al. 2021 (arXiv:2107.02027).
    """

    def __init__(self, documents: Ints, lengths: Ints, row_length: int) -> None:
        super().__init__(documents, lengths, row_length)
        # The last token has no successor, so it need not be an input where it would begin a row.
        owner, index = counted(np.maximum(1, -(-(lengths - 1) // row_length)))
        begin = index * row_length
        length = np.minimum(row_length, lengths[owner] - begin)
        kinds = best_fit(length, row_length)
        sizes: Ints = np.repeat([len(kind.lengths) for kind in kinds], [kind.num_rows for kind in kinds])
        slots: Ints = np.concatenate([np.tile(kind.lengths, kind.num_rows) for kind in kinds])
        piece = np.empty_like(slots)
        piece[np.argsort(slots, kind="stable")] = np.argsort(length, kind="stable")
        self.num_rows = len(sizes)
        self._ends = np.cumsum(sizes)
        self._stops = np.cumsum(slots)
        self._owner, self._begin, self._length = owner[piece], begin[piece], slots

    @property
    def num_inputs(self) -> int:
        return int(self._stops[-1])

    def pieces(self, rows: Ints) -> Pieces:
        first = np.where(rows > 0, self._ends[rows - 1], 0)
        row, segment = counted(self._ends[rows] - first)
        slot = first[row] + segment
        starts = self._stops - self._length
        return Pieces(
            row,
            starts[slot] - starts[first][row],
            segment + 1,
            self.documents[self._owner[slot]],
            self._begin[slot],
            self._length[slot],
        )


def best_fit(lengths: Ints, row_length: int) -> list[RowKind]:
    """Returns the rows into which best fit packs pieces: the longest first, each into the fullest row.

    Rows of equal content are packed together, so the time depends on the distinct lengths.

    Args:
        lengths: The lengths of the pieces, each in [1, row_length].
        row_length: The length of a row.

    Example:

    ```python
    import numpy as np
    from highnoon.data.sequences.whole_document_layout import best_fit
    rows = best_fit(np.array([3, 5, 2, 6, 3, 5]), row_length=8)
    assert [(kind.lengths, kind.num_rows) for kind in rows] == [((5, 3), 2), ((6, 2), 1)]
    ```
    """
    open_rows = collections.defaultdict[int, list[RowKind]](list)  # by the room that is left
    rooms: list[int] = []  # of `open_rows`, in order

    def put(kind: RowKind) -> None:
        room = row_length - sum(kind.lengths)
        if not open_rows[room]:
            bisect.insort(rooms, room)
        open_rows[room].append(kind)

    def take(room: int) -> RowKind:
        kind = open_rows[room].pop()
        if not open_rows[room]:
            rooms.remove(room)
        return kind

    distinct, counts = np.unique(lengths, return_counts=True)
    for length, count in zip(distinct[::-1].tolist(), counts[::-1].tolist(), strict=True):
        left = count
        while left:
            index = bisect.bisect_left(rooms, length)
            if index == len(rooms):
                fitting = row_length // length
                new = RowKind((length,) * min(fitting, left), max(1, left // fitting))
                left -= len(new.lengths) * new.num_rows
                put(new)
                continue
            kind = take(rooms[index])
            used = min(left, kind.num_rows)
            left -= used
            put(RowKind((*kind.lengths, length), used))
            if used < kind.num_rows:
                put(kind._replace(num_rows=kind.num_rows - used))
    return [kind for room in rooms for kind in open_rows[room]]
