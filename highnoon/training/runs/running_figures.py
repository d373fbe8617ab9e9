"""Loss and speed of the latest steps, for a progress bar."""

from __future__ import annotations

import collections
import statistics
import time
from collections.abc import Mapping
from typing import Any

_MOST_STEPS = 50


class RunningFigures:
    """Averages the loss over the steps since the last look, at most 50 of them.

    Steps are added when the run has read back from the device whether they were skipped, one call late. So a
    look waits for nothing; without a look nothing is copied.
    """

    def __init__(self) -> None:
        self._latest: collections.deque[Mapping[str, Any]] = collections.deque(maxlen=_MOST_STEPS)
        self._num_steps = 0
        self._paused_seconds = 0.0
        self._since = time.perf_counter()

    def add(self, metrics: Mapping[str, Any]) -> None:
        """Adds a step that was applied.

        Args:
            metrics: What the step returned.
        """
        self._latest.append(metrics)
        self._num_steps += 1

    def pause(self, seconds: float) -> None:
        """Leaves out time that an evaluation or a checkpoint took."""
        self._paused_seconds += seconds

    def read(self) -> tuple[float | None, float] | None:
        """Returns the mean loss and the tokens per second since the last call; None without a step.

        The loss is None where no step had a supervised token.
        """
        if not self._latest:
            return None
        now = time.perf_counter()
        seconds = max(now - self._since - self._paused_seconds, 1e-9)
        tokens = [float(metrics["num_tokens"]) for metrics in self._latest]
        losses = [float(metrics["loss"]) for metrics, num in zip(self._latest, tokens, strict=True) if num]
        loss = statistics.fmean(losses) if losses else None
        tokens_per_second = statistics.fmean(tokens) * self._num_steps / seconds
        self._latest.clear()
        self._num_steps, self._paused_seconds, self._since = 0, 0.0, now
        return loss, tokens_per_second
