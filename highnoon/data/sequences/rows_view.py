"""The rows of one epoch, with random access."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np

from highnoon.data.document import DataError
from highnoon.data.ints import Ints
from highnoon.data.sequences.mixture import Mixture
from highnoon.data.sequences.row_filling import Batch
from highnoon.data.sequences.row_layout import Pieces, RowLayout
from highnoon.data.sequences.split_documents import SplitDocuments

# Lays out one pass over a pool's documents; returns the layout and the order of its rows.
Cut = Callable[[Ints, int], tuple[RowLayout, Ints]]

# Rows are gathered in blocks whose index arrays stay in the processor's cache.
_BLOCK_TOKENS = 1 << 15


class RowsView:
    """The rows of an epoch, determined by (seed, epoch, documents); created by `PackedRows.view`.

    Row `r` of epoch `e` is turn `e * num_rows + r` of the mixture of the pools. It is the next row of its
    pool, which is read repeatedly, in another order in each pass. With one pool, a pass is an epoch.

    Args:
        documents: The documents of the split.
        pools: Documents of each pool.
        mixture: The pool of each turn.
        epoch: The epoch, from 0.
        cut: Lays out one pass over a pool.
        row_length: Input tokens per row.
    """

    def __init__(
        self,
        documents: SplitDocuments,
        pools: Sequence[Ints],
        mixture: Mixture,
        epoch: int,
        cut: Cut,
        row_length: int,
    ) -> None:
        self.epoch = epoch
        self.row_length = row_length
        self._documents = documents
        self._pools = list(pools)
        self._mixture = mixture
        self._cut = cut
        self._lock = threading.Lock()
        self._cuts: dict[tuple[int, int], tuple[RowLayout, Ints]] = {}
        # The number of rows of a pool does not depend on the order, so any pass will do.
        first = [
            self._layout(pool, epoch if len(self._pools) == 1 else 0)[0] for pool in range(len(self._pools))
        ]
        self._rows_of_pools = [layout.num_rows for layout in first]
        self._inputs_of_pools = [layout.num_inputs for layout in first]
        self.num_rows = sum(self._rows_of_pools)

    def read(self, start: int, count: int) -> Batch:
        """Returns rows `start` to `start + count - 1`, fewer where the epoch ends.

        Returns:
            `token_ids`, `labels`, `segment_ids`, `positions` (int32) and `loss_weights` (float32), each
            of shape (rows, row_length); see "A batch" in docs/architecture.md. Derived columns, where
            there are any, have the shape (rows, row_length, *shape).

        Raises:
            DataError: If `start` is not in [0, num_rows], or `count` is negative.
        """
        if not 0 <= start <= self.num_rows or count < 0:
            raise DataError(
                f"`start` must be in [0, num_rows={self.num_rows}] and `count` not negative; "
                f"received {start} and {count}"
            )
        rows = np.arange(start, min(start + count, self.num_rows))
        batch = self._documents.empty_batch(len(rows), self.row_length)
        for block in range(0, len(rows), step := max(1, _BLOCK_TOKENS // self.row_length)):
            part = {name: array[block : block + step] for name, array in batch.items()}
            for pieces in self._pieces(rows[block : block + step]):
                self._documents.gather(pieces, self.row_length, part)
        return batch

    def documents_of(self, row: int) -> Ints:
        """Returns the indices of the documents in a row, from left to right."""
        if not 0 <= row < self.num_rows:
            raise IndexError(f"rows are 0 to {self.num_rows - 1}; received {row}")
        return np.concatenate([pieces.document for pieces in self._pieces(np.array([row]))])

    def rows_by_store(self, start: int, count: int) -> Ints | None:
        """Returns how many of some rows are from each store; None if rows mix documents of several stores."""
        if len(self._pools) == 1:
            return None
        turns = self.epoch * self.num_rows + np.arange(start, min(start + count, self.num_rows))
        store_of_pool = np.array([self._documents.store_of[pool[0]] for pool in self._pools])
        of_rows = store_of_pool[self._mixture.sources(turns)]
        return np.bincount(of_rows, minlength=len(self._documents.stores))

    @property
    def fractions(self) -> list[float]:
        """The fraction of the epoch's rows from each pool."""
        ends = np.array([self.epoch, self.epoch + 1]) * self.num_rows
        taken = [self._mixture.taken(ends, pool) for pool in range(len(self._pools))]
        return [float(end - begin) / self.num_rows for begin, end in taken]

    @property
    def shares(self) -> list[float]:  # former name
        """The former name of `fractions`."""
        return self.fractions

    @property
    def efficiency(self) -> float:
        """The fraction of row positions that have tokens."""
        full = [
            inputs / (rows * self.row_length)
            for inputs, rows in zip(self._inputs_of_pools, self._rows_of_pools, strict=True)
        ]
        return sum(fraction * of_pool for fraction, of_pool in zip(self.fractions, full, strict=True))

    def _pieces(self, rows: Ints) -> list[Pieces]:
        """Returns the pieces of `rows`, in one part for each pool and pass."""
        parts = []
        turns = self.epoch * self.num_rows + rows
        pool_of = self._mixture.sources(turns)
        for pool in np.unique(pool_of).tolist():
            here = np.flatnonzero(pool_of == pool)
            passes, positions = np.divmod(self._mixture.taken(turns[here], pool), self._rows_of_pools[pool])
            for number in np.unique(passes).tolist():
                now = passes == number
                layout, order = self._layout(pool, number)
                pieces = layout.pieces(order[positions[now]])
                parts.append(pieces._replace(row=here[now][pieces.row]))
        return parts

    def _layout(self, pool: int, number: int) -> tuple[RowLayout, Ints]:
        with self._lock:
            if (pool, number) not in self._cuts:
                # Passes are read in order: the previous one is kept for a read that spans two.
                self._cuts.pop((pool, number - 2), None)
                self._cuts[pool, number] = self._cut(self._pools[pool], number)
            return self._cuts[pool, number]
