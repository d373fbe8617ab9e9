"""Ctrl-C in every phase of a command: answered at once, never lost, and final the second time."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from highnoon.training.runs.signal_watch import SignalWatch

FIRST = "stopping; Ctrl-C again ends at once"
SECOND = "ending now"
GRACE_SECONDS = 2.0
"""From the second signal until the process ends by force."""
_BETWEEN_RAISES = 0.05


class StopRequests:
    """Context of a command: the first Ctrl-C raises KeyboardInterrupt, and the second ends the process.

    The interpreter cannot raise out of a `__del__` or a callback of the garbage collector: it prints the
    exception and continues. A KeyboardInterrupt that is lost in this way is raised again outside of it.

    Args:
        ends_process: Whether a second signal may end the process by force, `GRACE_SECONDS` after it; a long
            call into native code cannot be left in another way.
    """

    def __init__(self, *, ends_process: bool) -> None:
        self._ends_process = ends_process
        self._stderr = -1
        self._watch = SignalWatch(self._answer, self._write)
        self._timer: threading.Timer | None = None
        self._main = threading.main_thread().ident or 0
        self._previous_hook: Callable[[Any], Any] = sys.unraisablehook
        self._is_active = False

    def __enter__(self) -> StopRequests:
        is_main = threading.current_thread() is threading.main_thread()
        self._is_active = is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._is_active:
            # TensorFlow is loaded with standard error set aside; an answer must be seen.
            self._stderr = os.dup(2)
            signal.signal(signal.SIGINT, self._raise)
            self._previous_hook, sys.unraisablehook = sys.unraisablehook, self._note_lost
            self._watch.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        if not self._is_active:
            return
        self._is_active = False
        self._watch.__exit__(*exception)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._main), None)
        sys.unraisablehook = self._previous_hook
        # While a process ends, another Ctrl-C must not raise in its last functions.
        is_ending = self._ends_process and self._watch.num_heard > 0
        signal.signal(signal.SIGINT, signal.SIG_DFL if is_ending else signal.default_int_handler)
        # A timer of a process that is to end runs until it has.
        if self._timer is not None and not self._ends_process:
            self._timer.cancel()
        os.close(self._stderr)

    def _raise(self, number: int, frame: FrameType | None) -> None:
        self._watch.has_raised = True
        raise KeyboardInterrupt

    def _answer(self, number: int) -> str | None:
        if self._watch.num_heard == 1:
            return FIRST
        if self._ends_process and self._timer is None:
            self._timer = threading.Timer(GRACE_SECONDS, os._exit, (128 + number,))
            self._timer.daemon = True
            self._timer.start()
        return SECOND if self._watch.num_heard == 2 else None

    def _write(self, line: str) -> None:
        # A terminal shows `^C`, perhaps behind a progress bar.
        before = "\n" if os.isatty(self._stderr) else ""
        os.write(self._stderr, f"{before}{line}\n".encode())

    def _note_lost(self, unraisable: Any) -> None:
        if isinstance(unraisable.exc_value, KeyboardInterrupt) or unraisable.exc_type is KeyboardInterrupt:
            # Raised here it would be lost again.
            timer = threading.Timer(_BETWEEN_RAISES, self._raise_in_main)
            timer.daemon = True
            timer.start()
        else:
            self._previous_hook(unraisable)

    def _raise_in_main(self) -> None:
        if not self._is_active:
            return
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(self._main), ctypes.py_object(KeyboardInterrupt)
        )
