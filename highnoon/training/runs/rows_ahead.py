"""Prefetches the rows of the next steps in a thread."""

from __future__ import annotations

import concurrent.futures
from typing import Any

import numpy as np

from highnoon.training.plans.stage_data import StageData

# Small steps are read several at a time, since a read costs half a millisecond however little it gives.
_BLOCK_TOKENS = 1 << 14


class RowsAhead:
    """Reads the rows of steps; a thread prefetches those of the next ones.

    Prefetching changes the timing, never the rows.
    """

    def __init__(self) -> None:
        self._reader = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="rows-ahead")
        self._blocks: dict[tuple[Any, int, int, int], concurrent.futures.Future] = {}

    def read(
        self, data: StageData, view: Any, step_in_epoch: int, first: int, count: int, num_steps: int = 1
    ) -> dict[str, np.ndarray]:
        """Returns `data.batch(view, step_in_epoch, first, count)` and prefetches what comes after it.

        Rows of several steps are stacked.
        """
        size = _steps_of_block(data, count)
        steps = range(step_in_epoch, step_in_epoch + num_steps)
        # Rows prefetched for another position, as before going back, are of no use.
        self._blocks = {
            key: rows for key, rows in self._blocks.items() if key[0] is view and key[1] >= steps[0] // size
        }
        last = max(steps[-1] // size + 1, (steps[-1] + num_steps) // size)
        for number in range(steps[0] // size, last + 1):
            key = view, number, first, count
            if key not in self._blocks:
                self._blocks[key] = self._reader.submit(
                    _read_block, data, view, number * size, size, first, count
                )
        rows = [self._rows_of_step(data, (view, step // size, first, count), step % size) for step in steps]
        return (
            rows[0] if num_steps == 1 else {name: np.stack([step[name] for step in rows]) for name in rows[0]}
        )

    def _rows_of_step(self, data: StageData, key: Any, index: int) -> dict[str, np.ndarray]:
        start = index * data.rows_per_step
        block = self._blocks[key].result()
        return {name: rows[start : start + data.rows_per_step] for name, rows in block.items()}

    def close(self) -> None:
        """Ends the thread."""
        self._reader.shutdown(cancel_futures=True)


def _steps_of_block(data: StageData, count: int) -> int:
    """How many steps are read at once: only one where a replica reads a part of each step."""
    return max(1, _BLOCK_TOKENS // data.tokens_per_step) if count == data.rows_per_step else 1


def _read_block(
    data: StageData, view: Any, step: int, num_steps: int, first: int, count: int
) -> dict[str, np.ndarray]:
    if num_steps == 1:
        return data.batch(view, step, first, count)
    start = min(step * data.rows_per_step, view.num_rows)
    return view.read(start, num_steps * data.rows_per_step)
