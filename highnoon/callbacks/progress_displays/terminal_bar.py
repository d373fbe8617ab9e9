"""Progress as a bar in a terminal."""

from __future__ import annotations

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from highnoon.callbacks.progress_displays.progress_display import Shown
from highnoon.files.terminal_console import TerminalConsole

_BAR_WIDTH = 20  # leaves room for the figures in 80 columns


class TerminalBar:
    """Keeps a bar on the last line of a terminal; lines scroll above it.

    Args:
        console: The terminal.
    """

    seconds_between = 0.2
    moves = True

    def __init__(self, console: TerminalConsole) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("{task.fields[stage]}", markup=False),
            BarColumn(bar_width=_BAR_WIDTH),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
            TimeRemainingColumn(compact=True),
            console=console,
        )
        self._task = self._bar.add_task("train", total=None, stage="", figures="")

    def show(self, shown: Shown) -> None:
        if not self._bar.live.is_started:
            # The steps before a resume do not count as speed.
            self._bar.reset(self._task, total=shown.total_steps, completed=shown.step)
            self._bar.start()
        self._bar.update(self._task, completed=shown.step, stage=shown.stage, figures=shown.figures)

    def print(self, line: str) -> None:
        self._console.print(line)

    def close(self) -> None:
        self._bar.stop()
