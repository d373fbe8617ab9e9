"""Ctrl-C and SIGTERM as a request that a run answers between two steps."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from highnoon.training.runs.signal_watch import SignalWatch

NOTICE = "stopping after this step and saving the run; Ctrl-C again stops without saving"


class StopSignals:
    """Context in which the first SIGINT or SIGTERM is noted and a second one acts at once.

    The first is answered with a line the moment that it arrives, also during a long step. Only the main
    thread can take signals; elsewhere the context changes nothing.

    `requested` is the signal's number, or None.

    Raises:
        KeyboardInterrupt: On entry, where a stop was requested before and a library swallowed the exception.
    """

    def __init__(self) -> None:
        self.requested: int | None = None
        self._previous: dict[int, Any] = {}
        self._watch = SignalWatch(self._answer)

    def __enter__(self) -> StopSignals:
        SignalWatch.raise_if_lost()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._note)
        self._watch.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._watch.__exit__(*exception)
        self._restore()

    def _answer(self, number: int) -> str | None:
        return NOTICE if self._watch.num_heard == 1 else None

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = number
        self._restore()
        if self._watch.num_heard > 1:  # both came during one call into native code
            signal.raise_signal(number)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()
