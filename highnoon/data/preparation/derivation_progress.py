"""The line that says how far a computation of derived columns is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def derivation_progress(title: str, *, is_shown: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Shows windows done and time left on standard error; gives what to call after each batch.

    Args:
        title: What is computed.
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
