"""Finds the files that match a glob pattern and searches each folder once."""

from __future__ import annotations

import glob
import os
import pathlib
from collections.abc import Iterator

from highnoon.data.document import DataError

_ANY_FOLDERS = "**"

# Each `**` searches all folders below, so the work grows exponentially with their number.
_MAX_ANY_FOLDERS = 3


def glob_files(pattern: str) -> list[pathlib.Path]:
    """Returns the files that match a shell pattern, sorted.

    `**` matches any number of folders. Links to folders are followed, but each `**` searches a folder once,
    under the first of its names, so that cyclic links do not loop.

    Raises:
        DataError: If the pattern has `**` more than three times.
    """
    parts = pathlib.PurePath(pattern).parts
    if parts.count(_ANY_FOLDERS) > _MAX_ANY_FOLDERS:
        raise DataError(
            f"{pattern} has `**` more than {_MAX_ANY_FOLDERS} times; name some of the folders instead"
        )
    return sorted({path for path in _matches(parts) if path.is_file()})


def _matches(parts: tuple[str, ...]) -> Iterator[pathlib.Path]:
    """Yields the paths that match the parts of a pattern."""
    if _ANY_FOLDERS not in parts:
        yield from map(pathlib.Path, glob.glob(os.path.join(*parts)))
        return
    index = parts.index(_ANY_FOLDERS)
    # Consecutive `**` are equivalent to one.
    rest = parts[index + 1 :]
    while rest[:1] == (_ANY_FOLDERS,):
        rest = rest[1:]
    bases = glob.glob(os.path.join(*parts[:index])) if index else [os.curdir]
    for base in bases:
        for folder in _folders(base):
            if rest:
                escaped = glob.escape(folder) if index or folder != os.curdir else ""
                yield from _matches(pathlib.PurePath(escaped, *rest).parts)
            else:
                yield from (pathlib.Path(folder, name) for name in _names(folder))


def _folders(base: str) -> Iterator[str]:
    """Yields a folder and all folders in it that are not hidden, each once even if links lead to it."""
    seen: set[tuple[int, int]] = set()
    waiting = [base]
    while waiting:
        folder = waiting.pop()
        try:
            status = os.stat(folder)
        except OSError:
            continue
        if (status.st_dev, status.st_ino) in seen or not os.path.isdir(folder):
            continue
        seen.add((status.st_dev, status.st_ino))
        yield folder
        waiting += [os.path.join(folder, name) for name in reversed(_names(folder))]


def _names(folder: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError:
        return []
