"""Adds a path to disk errors that name none."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import shutil
from collections.abc import Collection, Iterator

FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def name_path(
    path: str | os.PathLike[str], numbers: Collection[int] | None = None, advice: str = ""
) -> Iterator[None]:
    """Adds `path` to an `OSError` of the block that names no path, and the free space if the disk is full.

    Errors of `open` name a path; those of `write`, `flush` and `close` do not.

    Args:
        path: The file or folder that the block writes.
        numbers: Values of `errno` to handle; None handles all. A block that also reads other files passes
            `FULL_DISK`.
        advice: What to do, for the error message.

    Raises:
        OSError: Of the same class and `errno`, with `filename`.

    Example:

    ```python
    import tempfile

    from highnoon.files.name_path import name_path

    with tempfile.NamedTemporaryFile() as stream, name_path(stream.name):
        stream.write(b"some bytes")
    ```
    """
    try:
        yield
    except OSError as error:
        is_other = numbers is not None and error.errno not in numbers
        if error.errno is None or error.filename is not None or is_other:
            raise
        reason = _reason(error, pathlib.Path(path))
        raise OSError(error.errno, f"{reason}; {advice}" if advice else reason, str(path)) from error


def free_bytes(path: str | os.PathLike[str]) -> int | None:
    """Returns the free space of the file system of a path, which need not exist; None if unknown."""
    path = pathlib.Path(path).absolute()
    for folder in (path, *path.parents):
        try:
            return shutil.disk_usage(folder).free
        except OSError:
            continue
    return None


def _reason(error: OSError, path: pathlib.Path) -> str:
    reason = error.strerror or os.strerror(error.errno or 0)
    free = free_bytes(path) if error.errno in FULL_DISK else None
    return reason if free is None else f"{reason} ({free:,} bytes are free)"
