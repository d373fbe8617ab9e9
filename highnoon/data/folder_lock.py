"""One process at a time in a folder."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterator


@contextlib.contextmanager
def folder_lock(folder: pathlib.Path) -> Iterator[bool]:
    """Makes `folder` and locks it; gives whether nobody else has it. A process that dies lets it go."""
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    opened = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        # Who had it before may have moved or removed the folder meanwhile.
        yield folder.exists() and os.path.samestat(os.fstat(opened), folder.stat())
    finally:
        os.close(opened)
