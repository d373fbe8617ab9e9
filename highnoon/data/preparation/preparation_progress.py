"""The progress line of a preparation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from highnoon.data.document import DocumentSource
from highnoon.data.preparation.fill_store import OnProgress
from highnoon.data.reading.opening import is_packed
from highnoon.data.reading.remote import RemotePath


def expected_bytes(source: DocumentSource) -> int | None:
    """Returns the approximate size of the text of `source`: the size of its files, or None if that is no
    estimate.

    Remote files are not queried for their size, which may take minutes.
    """
    size = 0
    for path in getattr(source, "paths", ()):
        if isinstance(path, RemotePath) or is_packed(path) or path.suffix.lower() == ".parquet":
            return None
        # If a file was removed in the meantime, the reader reports it.
        size += path.stat().st_size if path.is_file() else 0
    return size or None


@contextlib.contextmanager
def preparation_progress(name: str, total: int | None, is_shown: bool) -> Iterator[OnProgress | None]:
    """Shows megabytes, speed and remaining time; yields the function to call after each batch."""
    if not is_shown:
        yield None
        return
    from rich import progress

    from highnoon.files.terminal_console import TerminalConsole

    columns = (
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
        progress.TextColumn("{task.fields[documents]:,} documents"),
    )
    with progress.Progress(*columns, console=TerminalConsole(stderr=True)) as shown:
        task = shown.add_task(name, total=total, documents=0)
        first = True

        def update(documents: int, text_bytes: int) -> None:
            nonlocal first
            if first:
                # The work of an earlier call does not count for the speed of this one.
                shown.reset(task, total=total, completed=text_bytes, documents=documents)
                first = False
            shown.update(task, completed=text_bytes, documents=documents)

        yield update
