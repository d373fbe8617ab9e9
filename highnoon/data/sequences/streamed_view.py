"""The rows of one epoch of a stream, read forward."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from highnoon.data.document import DataError
from highnoon.data.ints import Ints
from highnoon.data.sequences.row_filling import Batch
from highnoon.data.sequences.row_packing import RowBlock

# Blocks kept after they are read, so that a step can be read again: about a million tokens.
_KEPT_BLOCKS = 32


class _Placed(NamedTuple):
    start: int
    stop: int
    block: RowBlock


class StreamedView:
    """The rows of an epoch; created by `StreamedRows.view`.

    A read after the current position reads everything in between; a read before the last million tokens reads
    the source from the beginning.

    Args:
        blocks: Starts an endless iterator over the rows of the epoch.
        num_rows: Rows of the epoch.
        epoch: The epoch, from 0.
    """

    def __init__(self, blocks: Callable[[], Iterator[RowBlock]], num_rows: int, epoch: int) -> None:
        self.num_rows = num_rows
        self.epoch = epoch
        self._begin = blocks
        self._stop = 0
        # One thread prefetches while another asks for the documents of a row.
        self._lock = threading.Lock()
        self._restart()

    def read(self, start: int, count: int) -> Batch:
        """Returns rows `start` to `start + count - 1`, fewer at the end of the epoch, as `RowsView.read`.

        Raises:
            DataError: If `start` is not in [0, num_rows], `count` is negative, or the source cannot be read.
        """
        if not 0 <= start <= self.num_rows or count < 0:
            raise DataError(
                f"`start` must be in [0, num_rows={self.num_rows}] and `count` not negative; "
                f"received {start} and {count}"
            )
        stop = min(start + count, self.num_rows)
        with self._lock:
            placed = self._blocks_of(min(start, self.num_rows - 1), max(stop, 1))
            names = placed[0].block.batch
            return {
                name: np.concatenate(
                    [
                        block.batch[name][max(start - first, 0) : max(stop - first, 0)]
                        for first, _, block in placed
                    ]
                )
                for name in names
            }

    def documents_of(self, row: int) -> Ints:
        """Returns the numbers of the documents in a row, from left to right.

        A document's number is its index in the split, in the order of the source.
        """
        if not 0 <= row < self.num_rows:
            raise IndexError(f"rows are 0 to {self.num_rows - 1}; received {row}")
        with self._lock:
            placed = self._blocks_of(row, row + 1)[0]
        return np.array(placed.block.documents[row - placed.start], np.int64)

    def _blocks_of(self, start: int, stop: int) -> list[_Placed]:
        """Returns the blocks with rows `start` to `stop - 1`, at least one."""
        if self._kept and start < self._kept[0].start:
            self._restart()
        found = [placed for placed in self._kept if placed.stop > start and placed.start < stop]
        while self._stop < stop:
            block = next(self._blocks)
            placed = _Placed(self._stop, self._stop + len(block.documents), block)
            self._stop = placed.stop
            self._kept.append(placed)
            if placed.stop > start:
                found.append(placed)
        return found

    def _restart(self) -> None:
        self._blocks = self._begin()
        self._stop = 0
        self._kept: deque[_Placed] = deque(maxlen=_KEPT_BLOCKS)
