"""Tokens a second and time lost to data, between log points."""

from __future__ import annotations

import time


class Throughput:
    """Counts tokens and waiting since the last report; time spent outside steps is left out."""

    def __init__(self) -> None:
        self._tokens = 0.0
        self._data_seconds = 0.0
        self._paused_seconds = 0.0
        self._since = time.perf_counter()

    def add(self, tokens: float, data_seconds: float) -> None:
        self._tokens += tokens
        self._data_seconds += data_seconds

    def pause(self, seconds: float) -> None:
        """Leaves out time that an evaluation or a checkpoint took."""
        self._paused_seconds += seconds

    def report(self) -> dict[str, float]:
        """Returns the rates since the last report and starts anew."""
        now = time.perf_counter()
        seconds = max(now - self._since - self._paused_seconds, 1e-9)
        rates = {
            "train/tokens_per_second": self._tokens / seconds,
            "train/data_wait_fraction": min(self._data_seconds / seconds, 1.0),
        }
        self._tokens = self._data_seconds = self._paused_seconds = 0.0
        self._since = now
        return rates
