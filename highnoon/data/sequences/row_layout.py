"""Which piece of which document stands where in a row."""

from __future__ import annotations

import abc
from typing import NamedTuple

import numpy as np

from highnoon.data.ints import Ints


class Pieces(NamedTuple):
    """Stretches of documents within rows; arrays of one value a piece, in the order of rows and columns.

    Args:
        row: Which of the rows asked for.
        column: Where in the row the piece begins.
        segment: 1, 2, ... within the row.
        document: Which document.
        begin: First token of the document that the piece holds.
        length: Tokens that the piece holds.
    """

    row: Ints
    column: Ints
    segment: Ints
    document: Ints
    begin: Ints
    length: Ints


class RowLayout(abc.ABC):
    """A fixed cut of documents into rows of `row_length` input tokens.

    Args:
        documents: The documents, in the order they are laid out.
        lengths: Tokens of each.
        row_length: Input tokens of a row.
    """

    num_rows: int

    def __init__(self, documents: Ints, lengths: Ints, row_length: int) -> None:
        self.documents = documents
        self.lengths = lengths
        self.row_length = row_length

    @property
    @abc.abstractmethod
    def num_inputs(self) -> int:
        """Input tokens in all rows together."""

    @abc.abstractmethod
    def pieces(self, rows: Ints) -> Pieces:
        """Returns what stands in each of `rows`."""


class PackedLayout(RowLayout):
    """Documents one after another, cut every `row_length` tokens: rows are full but for the last."""

    def __init__(self, documents: Ints, lengths: Ints, row_length: int) -> None:
        super().__init__(documents, lengths, row_length)
        self._ends = np.cumsum(lengths)
        # The very last token has no successor, so that it needs no place as an input.
        self.num_rows = max(1, -(-(int(self._ends[-1]) - 1) // row_length))

    @property
    def num_inputs(self) -> int:
        return min(int(self._ends[-1]), self.num_rows * self.row_length)

    def pieces(self, rows: Ints) -> Pieces:
        row_starts = rows * self.row_length
        row_stops = np.minimum(row_starts + self.row_length, self._ends[-1])
        first = np.searchsorted(self._ends, row_starts, side="right")
        last = np.searchsorted(self._ends, row_stops - 1, side="right")
        row, segment = _counted(last - first + 1)
        place = first[row] + segment
        document_starts = self._ends[place] - self.lengths[place]
        starts = np.maximum(document_starts, row_starts[row])
        stops = np.minimum(self._ends[place], row_stops[row])
        return Pieces(
            row,
            starts - row_starts[row],
            segment + 1,
            self.documents[place],
            starts - document_starts,
            stops - starts,
        )


class SingleLayout(RowLayout):
    """One piece of one document a row, for models that cannot tell documents of a row apart."""

    def __init__(self, documents: Ints, lengths: Ints, row_length: int) -> None:
        super().__init__(documents, lengths, row_length)
        self._ends = np.cumsum(np.maximum(1, -(-(lengths - 1) // row_length)))
        self.num_rows = int(self._ends[-1])

    @property
    def num_inputs(self) -> int:
        return int(np.maximum(1, self.lengths - 1).sum())

    def pieces(self, rows: Ints) -> Pieces:
        place = np.searchsorted(self._ends, rows, side="right")
        before = np.where(place > 0, self._ends[place - 1], 0)
        begin = (rows - before) * self.row_length
        length = np.minimum(self.row_length, np.maximum(1, self.lengths[place] - 1) - begin)
        zeros = np.zeros_like(rows)
        return Pieces(np.arange(len(rows)), zeros, zeros + 1, self.documents[place], begin, length)


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


def _counted(counts: Ints) -> tuple[Ints, Ints]:
    """For counts (2, 1): the owners (0, 0, 1) and the places (0, 1, 0)."""
    owner = np.repeat(np.arange(len(counts)), counts)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
