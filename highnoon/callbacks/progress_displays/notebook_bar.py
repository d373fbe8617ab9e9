"""Progress as one bar of a notebook that moves in place."""

from __future__ import annotations

import html
import importlib
from typing import Any

from highnoon.callbacks.progress_displays.progress_display import Shown
from highnoon.files.print_text import print_text
from highnoon.files.printable import printable


class NotebookBar:
    """Updates one output of a cell in place, with IPython alone; lines are printed below it."""

    seconds_between = 0.5
    moves = True

    def __init__(self) -> None:
        self._ipython = importlib.import_module("IPython.display")
        self._handle: Any = None

    def show(self, shown: Shown) -> None:
        bar = self._ipython.HTML(_as_html(shown))
        if self._handle is None:
            self._handle = self._ipython.display(bar, display_id=True)
        else:
            self._handle.update(bar)

    def print(self, line: str) -> None:
        print_text(line)

    def close(self) -> None:
        """The bar remains as it was shown last."""


def _as_html(shown: Shown) -> str:
    stage, text = (html.escape(printable(part)) for part in (shown.stage, shown.text))
    return (
        f'<div>{stage} <progress value="{shown.step}" max="{max(shown.total_steps, 1)}" '
        f'style="width: 20em"></progress> {text}</div>'
    )
