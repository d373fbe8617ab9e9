"""The speed of a run and the time that is left."""

from __future__ import annotations

import collections

_STEPS_TO_ESTIMATE = 10
_SECONDS_OF_WINDOW = 60.0
_SECONDS_BETWEEN_POINTS = 0.5


class Pace:
    """Estimates the remaining time from the steps of the last minute.

    The first call of a run compiles one step, the second may compile several: the estimate starts after them.
    """

    def __init__(self) -> None:
        self._num_calls = 0
        self._points: collections.deque[tuple[int, float]] = collections.deque()
        self._first: tuple[int, float] | None = None

    def add(self, step: int, now: float) -> float | None:
        """Notes the end of a call; returns the seconds of a step once, when they are first known.

        Args:
            step: The last step of the call.
            now: When it ended, in seconds.
        """
        self._num_calls += 1
        if self._num_calls < 2:
            return None
        if self._num_calls == 2:
            self._first = step, now
        if not self._points or now - self._points[-1][1] >= _SECONDS_BETWEEN_POINTS:
            self._points.append((step, now))
            while len(self._points) > 2 and now - self._points[0][1] > _SECONDS_OF_WINDOW:
                self._points.popleft()
        if self._first is None or step - self._first[0] < _STEPS_TO_ESTIMATE:
            return None
        seconds = (now - self._first[1]) / (step - self._first[0])
        self._first = None
        return seconds

    def seconds_left(self, num_steps: int) -> float | None:
        """Returns the time for as many steps; None before it is known."""
        if len(self._points) < 2:
            return None
        (first_step, first), (last_step, last) = self._points[0], self._points[-1]
        return (last - first) / max(last_step - first_step, 1) * max(num_steps, 0)
