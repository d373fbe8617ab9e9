"""The progress line of a computation of derived columns."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def derivation_progress(title: str, *, is_shown: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Shows finished windows and remaining time on standard error; yields the function to call after each
    batch.

    Args:
        title: The title of the line.
        is_shown: Whether to show anything.
    """
    if not is_shown:
        yield None
        return
    from rich import progress

    from highnoon.files.terminal_console import TerminalConsole

    columns = (
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=TerminalConsole(stderr=True)) as shown:
        task = shown.add_task(title, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)
