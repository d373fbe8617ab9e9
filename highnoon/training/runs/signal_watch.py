"""Answers Ctrl-C at once, even while the main thread is in native code."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import ClassVar

Answer = Callable[[int], str | None]
_STOPS = (signal.SIGINT, signal.SIGTERM)


class SignalWatch:
    """Context in which a thread answers SIGINT and SIGTERM the moment that they arrive.

    Python runs a handler between two bytecodes of the main thread, so a handler alone answers only when a
    long call into native code returns. The watch changes no handler. A signal without a handler in Python is
    not seen. Contexts may be nested: each sees the signal, and the line of the innermost is printed.

    Only the main thread can watch signals; elsewhere the context changes nothing.

    Args:
        answer: Called in the thread with the number of the signal; returns a line to print, or None.
        write: Prints the line; None writes to standard error.

    Attributes:
        num_heard: Signals since the context was entered.
        has_raised: Whether a handler of the owner has raised an exception for one of them.
    """

    innermost: ClassVar[SignalWatch | None] = None

    def __init__(self, answer: Answer, write: Callable[[str], object] | None = None) -> None:
        self.num_heard, self.has_raised = 0, False
        self._answer, self._write = answer, write
        self._outer: SignalWatch | None = None
        self._thread: threading.Thread | None = None
        self._pipe = self._previous = -1

    def __enter__(self) -> SignalWatch:
        if threading.current_thread() is not threading.main_thread():
            return self
        self.num_heard, self.has_raised = 0, False
        self._outer = SignalWatch.innermost
        output, self._pipe = os.pipe()
        os.set_blocking(self._pipe, False)
        self._previous = signal.set_wakeup_fd(self._pipe, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._watch, args=(output,), daemon=True)
        self._thread.start()
        SignalWatch.innermost = self
        return self

    def __exit__(self, *exception: object) -> None:
        if self._thread is None:
            return
        signal.set_wakeup_fd(self._previous)
        SignalWatch.innermost = self._outer
        os.close(self._pipe)
        self._thread.join()
        self._thread = None

    def _watch(self, output: int) -> None:
        with open(output, "rb", buffering=0) as stream:
            while numbers := stream.read(64):
                for number in numbers:
                    if number in _STOPS:
                        self._tell(number)
                if self._outer is None and self._previous >= 0:
                    # Of an event loop, which wakes up by it.
                    with contextlib.suppress(OSError):
                        os.write(self._previous, numbers)

    def _tell(self, number: int) -> None:
        watch: SignalWatch | None = self
        line: str | None = None
        write: Callable[[str], object] | None = None
        while watch is not None:
            watch.num_heard += 1
            answer = watch._answer(number)
            line = answer if line is None else line
            write = watch._write or write
            watch = watch._outer
        if line is not None:
            (write or _write_to_stderr)(line)

    @classmethod
    def raise_if_lost(cls) -> None:
        """Raises KeyboardInterrupt where a stop was requested whose exception a library swallowed.

        Call it where the work can be left.
        """
        if cls.innermost is not None and cls.innermost.has_raised:
            raise KeyboardInterrupt


def _write_to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _forget() -> None:
    """In a forked process, which must not write to the pipe of its parent."""
    if SignalWatch.innermost is not None:
        SignalWatch.innermost = None
        signal.set_wakeup_fd(-1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
