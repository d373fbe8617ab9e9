"""Keeps an alert from being shown twice: by the progress bar, and by a log that writes where the bar does."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from typing import Any

from highnoon.files.printable_stream import raw_stream


class TerminalLogs:
    """The handlers of Python's `logging` that write where standard output does.

    Records of alerts that callbacks receive as events have `is_event`, see `Alerts`. Handlers that write to a
    file or elsewhere always get them.
    """

    def __init__(self) -> None:
        self._filtered: list[logging.Handler] = []

    def hide_events(self) -> None:
        """Lets the handlers skip records of events until `show_events`."""
        self.show_events()
        for handler in _handlers():
            stream = getattr(handler, "stream", None)
            if _is_standard(stream) and _is_terminal(stream) == _is_terminal(sys.stdout):
                handler.addFilter(_is_no_event)
                self._filtered.append(handler)

    def show_events(self) -> None:
        """Lets the handlers write all records again."""
        for handler in self._filtered:
            handler.removeFilter(_is_no_event)
        self._filtered.clear()


def _handlers() -> Iterator[logging.Handler]:
    if logging.lastResort is not None:
        yield logging.lastResort
    for name in (None, "highnoon", "highnoon.alerts"):
        yield from logging.getLogger(name).handlers


def _is_no_event(record: logging.LogRecord) -> bool:
    return not getattr(record, "is_event", False)


def _is_standard(stream: Any) -> bool:
    return stream is not None and any(
        raw_stream(stream) is raw_stream(standard) for standard in (sys.stdout, sys.stderr)
    )


def _is_terminal(stream: Any) -> bool:
    return hasattr(stream, "isatty") and bool(stream.isatty())
