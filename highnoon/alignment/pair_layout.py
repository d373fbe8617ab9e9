"""The layout of pairs in rows of two lanes."""

from __future__ import annotations

import numpy as np

from highnoon.data.ints import Ints
from highnoon.data.sequences.row_layout import Pieces, RowLayout


class PairLayout(RowLayout):
    """As many entire pairs a row as fit into it, in order.

    A row has two lanes of `row_length` tokens; the documents of pair k are segment k of the two lanes. A pair
    that does not fit behind the pairs of a row begins the next one. Of a document longer than a row the first
    `row_length` tokens are read.

    Args:
        documents: The first document of each pair, in the order of the layout; the second one follows it.
        lengths: Tokens of both documents of each pair, (pairs, 2).
        row_length: Tokens of a lane.
        packing: Whether a row may have several pairs.
    """

    def __init__(self, documents: Ints, lengths: Ints, row_length: int, *, packing: bool) -> None:
        super().__init__(documents, np.minimum(lengths, row_length), row_length)
        row_of, columns = _fill(self.lengths.tolist(), row_length if packing else 0)
        self._columns = np.array(columns, np.int64)
        self._first = np.searchsorted(row_of, np.arange(row_of[-1] + 2))
        self.num_rows = int(row_of[-1]) + 1

    @property
    def num_inputs(self) -> int:
        """Half of all tokens: the mean of the two lanes."""
        return int(self.lengths.sum()) // 2

    def pieces(self, rows: Ints) -> Pieces:
        """Returns two pieces a pair, of both lanes; the lane is the parity of the document."""
        counts = self._first[rows + 1] - self._first[rows]
        row = np.repeat(np.arange(len(rows)), counts)
        within = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
        pair = self._first[rows][row] + within
        twice = np.repeat(pair, 2)
        lane = np.tile([0, 1], len(pair))
        return Pieces(
            np.repeat(row, 2),
            self._columns[twice, lane],
            np.repeat(within + 1, 2),
            self.documents[twice] + lane,
            np.zeros_like(twice),
            self.lengths[twice, lane],
        )


def _fill(lengths: list[list[int]], row_length: int) -> tuple[Ints, list[tuple[int, int]]]:
    """Returns the row of each pair, and the columns at which its documents begin."""
    rows, columns = [], []
    row, first, second = -1, row_length, row_length
    for of_first, of_second in lengths:
        if row < 0 or first + of_first > row_length or second + of_second > row_length:
            row, first, second = row + 1, 0, 0
        rows.append(row)
        columns.append((first, second))
        first, second = first + of_first, second + of_second
    return np.array(rows, np.int64), columns
