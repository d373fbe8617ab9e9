"""The layout of documents in rows."""

from __future__ import annotations

import abc
from typing import NamedTuple

import numpy as np

from highnoon.data.ints import Ints


class Pieces(NamedTuple):
    """Pieces of documents in rows; arrays with one value per piece, in the order of rows and columns.

    Args:
        row: Index of the row among the requested rows.
        column: Index in the row at which the piece begins.
        segment: 1, 2, ... in the row.
        document: Index of the document.
        begin: Index of the first token of the piece in its document.
        length: Tokens of the piece.
    """

    row: Ints
    column: Ints
    segment: Ints
    document: Ints
    begin: Ints
    length: Ints


class RowLayout(abc.ABC):
    """A fixed assignment of documents to rows of `row_length` input tokens.

    Args:
        documents: The documents, in the order of the layout.
        lengths: Tokens of each.
        row_length: Input tokens per row.
    """

    num_rows: int

    def __init__(self, documents: Ints, lengths: Ints, row_length: int) -> None:
        self.documents = documents
        self.lengths = lengths
        self.row_length = row_length

    @property
    @abc.abstractmethod
    def num_inputs(self) -> int:
        """The number of input tokens in all rows."""

    @abc.abstractmethod
    def pieces(self, rows: Ints) -> Pieces:
        """Returns the pieces in each of `rows`."""


class PackedLayout(RowLayout):
    """Concatenated documents, split every `row_length` tokens: all rows except the last are full."""

    def __init__(self, documents: Ints, lengths: Ints, row_length: int) -> None:
        super().__init__(documents, lengths, row_length)
        self._ends = np.cumsum(lengths)
        # The last token has no successor, so it need not be an input.
        self.num_rows = max(1, -(-(int(self._ends[-1]) - 1) // row_length))

    @property
    def num_inputs(self) -> int:
        return min(int(self._ends[-1]), self.num_rows * self.row_length)

    def pieces(self, rows: Ints) -> Pieces:
        row_starts = rows * self.row_length
        row_stops = np.minimum(row_starts + self.row_length, self._ends[-1])
        first = np.searchsorted(self._ends, row_starts, side="right")
        last = np.searchsorted(self._ends, row_stops - 1, side="right")
        row, segment = counted(last - first + 1)
        index = first[row] + segment
        document_starts = self._ends[index] - self.lengths[index]
        starts = np.maximum(document_starts, row_starts[row])
        stops = np.minimum(self._ends[index], row_stops[row])
        return Pieces(
            row,
            starts - row_starts[row],
            segment + 1,
            self.documents[index],
            starts - document_starts,
            stops - starts,
        )


class SingleLayout(RowLayout):
    """One piece of one document per row, for models that cannot separate the documents of a row."""

    def __init__(self, documents: Ints, lengths: Ints, row_length: int) -> None:
        super().__init__(documents, lengths, row_length)
        self._ends = np.cumsum(np.maximum(1, -(-(lengths - 1) // row_length)))
        self.num_rows = int(self._ends[-1])

    @property
    def num_inputs(self) -> int:
        return int(np.maximum(1, self.lengths - 1).sum())

    def pieces(self, rows: Ints) -> Pieces:
        index = np.searchsorted(self._ends, rows, side="right")
        before = np.where(index > 0, self._ends[index - 1], 0)
        begin = (rows - before) * self.row_length
        length = np.minimum(self.row_length, np.maximum(1, self.lengths[index] - 1) - begin)
        zeros = np.zeros_like(rows)
        return Pieces(np.arange(len(rows)), zeros, zeros + 1, self.documents[index], begin, length)


class TruncatedLayout(RowLayout):
    """The first `row_length` tokens of one document a row, its last token included."""

    def __init__(self, documents: Ints, lengths: Ints, row_length: int) -> None:
        super().__init__(documents, lengths, row_length)
        self.num_rows = len(documents)

    @property
    def num_inputs(self) -> int:
        return int(np.minimum(self.lengths, self.row_length).sum())

    def pieces(self, rows: Ints) -> Pieces:
        zeros = np.zeros_like(rows)
        length = np.minimum(self.lengths[rows], self.row_length)
        return Pieces(np.arange(len(rows)), zeros, zeros + 1, self.documents[rows], zeros, length)


def counted(counts: Ints) -> tuple[Ints, Ints]:
    """For counts (2, 1), returns the owners (0, 0, 1) and the indices (0, 1, 0)."""
    owner = np.repeat(np.arange(len(counts)), counts)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
