"""Gives an error of the disk the path that it belongs to."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import shutil
from collections.abc import Iterator

FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def name_path(path: str | os.PathLike[str]) -> Iterator[None]:
    """Lets an `OSError` of the block name `path` where it names no path, and a full disk its free space.

    `open` names the path that it cannot open; `write`, `flush` and `close` do not.

    Raises:
        OSError: of the same class and `errno`, with `filename`.

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
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, _reason(error, pathlib.Path(path)), str(path)) from error


def free_bytes(path: str | os.PathLike[str]) -> int | None:
    """Returns the free space of the file system of a path, which need not exist; None where unknown."""
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
