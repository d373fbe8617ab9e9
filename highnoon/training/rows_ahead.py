"""Reading the next step's rows while this one computes."""

from __future__ import annotations

import concurrent.futures
from typing import Any

import numpy as np

from highnoon.training.stage_data import StageData


class RowsAhead:
    """Gives the rows of steps, those of the next one read by a thread in the meantime.

    What is given does not depend on what was read ahead, only when it is there does.
    """

    def __init__(self) -> None:
        self._reader = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="rows-ahead")
        self._ahead: dict[tuple[Any, int, int, int], concurrent.futures.Future] = {}

    def read(
        self, data: StageData, view: Any, step_in_epoch: int, first: int, count: int
    ) -> dict[str, np.ndarray]:
        """Returns `data.batch(view, step_in_epoch, first, count)` and begins to read the step after it."""
        pending = self._ahead.pop((view, step_in_epoch, first, count), None)
        rows = data.batch(view, step_in_epoch, first, count) if pending is None else pending.result()
        following = view, step_in_epoch + 1, first, count
        # What was read ahead of another place, as before going back, is of no use.
        near = (view, step_in_epoch), following[:2]
        self._ahead = {key: rows for key, rows in self._ahead.items() if key[:2] in near}
        self._ahead[following] = self._reader.submit(data.batch, *following)
        return rows

    def close(self) -> None:
        """Ends the thread."""
        self._reader.shutdown(cancel_futures=True)
