"""The loss of each task since the last log point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from highnoon.training.steps.micro_batches import TOTAL
from highnoon.training.task_losses import TASK_LOSS, task_figures


class TaskLossSums:
    """Adds up the sums of each task over the steps that were applied.

    Steps are read one call behind the device, so that nothing waits between log points. Each stage has its
    own sums.

    Args:
        tasks: Names; none adds nothing and costs nothing.
        sums: What `sums` returned before a resume; of another length it begins at zero.
    """

    def __init__(self, tasks: Sequence[str] = (), sums: Sequence[float] = ()) -> None:
        self._tasks = list(tasks)
        is_known = len(sums) == 2 * len(self._tasks)
        self._sums = np.array(sums if is_known else np.zeros(2 * len(tasks)), np.float64)
        self._unread: list[Sequence[Mapping[str, Any]]] = []

    @property
    def sums(self) -> list[float]:
        """The sums since the last report, for a checkpoint; this waits for the last step."""
        self._read(keeps_last=False)
        return self._sums.tolist()

    def add(self, steps: Sequence[Mapping[str, Any]]) -> None:
        """Adds the steps of one call.

        Args:
            steps: What each returned.
        """
        if self._tasks:
            self._unread.append(steps)
            self._read(keeps_last=True)

    def forget(self) -> None:
        """Drops what was added, after the run went back to a checkpoint."""
        self._unread.clear()
        self._sums = np.zeros_like(self._sums)

    def report(self) -> dict[str, float]:
        """Returns `train/task_loss/NAME` for each task that was trained, and starts from zero."""
        sums = np.reshape(self.sums, (2, len(self._tasks)))
        self._sums = np.zeros_like(self._sums)
        return {f"train/{name}": value for name, value in task_figures(self._tasks, sums).items()}

    def _read(self, *, keeps_last: bool) -> None:
        while len(self._unread) > (1 if keeps_last else 0):
            for step in self._unread.pop(0):
                if not bool(step["is_skipped"]):
                    self._sums += np.asarray(step[TOTAL + TASK_LOSS], np.float64).reshape(-1)
