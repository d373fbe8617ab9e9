"""Progress as lines, where output is a file or a pipe."""

from __future__ import annotations

from highnoon.callbacks.progress_displays.progress_display import Shown
from highnoon.files.print_text import print_text


class PlainLines:
    """Prints a line each minute, besides those of log points."""

    seconds_between = 60.0
    moves = False

    def show(self, shown: Shown) -> None:
        self.print(shown.text)

    def print(self, line: str) -> None:
        print_text(line)

    def close(self) -> None:
        """Nothing is open."""
