"""The rows of pairs of one epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from highnoon.data.document import DataError
from highnoon.data.ints import Ints
from highnoon.data.sequences.row_filling import Batch
from highnoon.data.sequences.rows_view import RowsView

PAIR_VALUES = "pair_values"


class PairView(RowsView):
    """The rows of an epoch; created by `PairRows.view`.

    Attributes:
        usable: The numbers of the pairs that are read, among all pairs of the split.
        values_of_pairs: The number that each pair of the split is labeled with.
        row_columns: Names of columns of zeros, (rows,).
    """

    usable: Ints
    values_of_pairs: npt.NDArray[np.float32]
    row_columns: Sequence[str]

    def read(self, start: int, count: int) -> Batch:
        """Returns rows `start` to `start + count - 1`, fewer at the end of the epoch.

        Returns:
            The columns of `RowsView.read`, of shape (rows, 2, row_length); and `pair_values`, float32 of
            shape (rows, row_length), the number of the pair of segment k at index k - 1.

        Raises:
            DataError: `start` is not in [0, num_rows], or `count` is negative.
        """
        if not 0 <= start <= self.num_rows or count < 0:
            raise DataError(
                f"`start` must be in [0, num_rows={self.num_rows}] and `count` not negative; "
                f"received {start} and {count}"
            )
        numbers = np.arange(start, min(start + count, self.num_rows))
        lanes = self._documents.empty_batch(2 * len(numbers), self.row_length)
        values = np.zeros((len(numbers), self.row_length), np.float32)
        for pieces in self._pieces(numbers):
            values[pieces.row, pieces.segment - 1] = self.values_of_pairs[pieces.document // 2]
            in_lanes = pieces._replace(row=2 * pieces.row + pieces.document % 2)
            self._documents.gather(in_lanes, self.row_length, lanes)
        batch = {name: array.reshape(len(numbers), 2, *array.shape[1:]) for name, array in lanes.items()}
        of_rows = {name: np.zeros(len(numbers), np.float32) for name in self.row_columns}
        return {**batch, PAIR_VALUES: values, **of_rows}

    def documents_of(self, row: int) -> Ints:
        """Returns the indices of the pairs in a row, from left to right."""
        firsts: Ints = super().documents_of(row)[::2]
        return np.searchsorted(self.usable, firsts // 2)
