"""Files that a pattern names, each folder looked into once."""

from __future__ import annotations

import glob
import os
import pathlib
from collections.abc import Iterator

from highnoon.data.document import DataError

_ANY_FOLDERS = "**"

# Each looks through all folders below, so that the work grows with their power.
_MAX_ANY_FOLDERS = 3


def glob_files(pattern: str) -> list[pathlib.Path]:
    """Returns the files that match a pattern of the shell, sorted.

    `**` stands for any number of folders. Links to folders are followed, but of each `**` a folder is
    looked into once, under the first of its names: links that lead back end the search there.

    Raises:
        DataError: the pattern has `**` more than three times.
    """
    parts = pathlib.PurePath(pattern).parts
    if parts.count(_ANY_FOLDERS) > _MAX_ANY_FOLDERS:
        raise DataError(
            f"{pattern} has `**` more than {_MAX_ANY_FOLDERS} times; name some of the folders between"
        )
    return sorted({path for path in _matches(parts) if path.is_file()})


def _matches(parts: tuple[str, ...]) -> Iterator[pathlib.Path]:
    """The paths that match the parts of a pattern."""
    if _ANY_FOLDERS not in parts:
        yield from map(pathlib.Path, glob.glob(os.path.join(*parts)))
        return
    location = parts.index(_ANY_FOLDERS)
    # Neighbors say no more than one of them.
    rest = parts[location + 1 :]
    while rest[:1] == (_ANY_FOLDERS,):
        rest = rest[1:]
    bases = glob.glob(os.path.join(*parts[:location])) if location else [os.curdir]
    for base in bases:
        for folder in _folders(base):
            if rest:
                escaped = glob.escape(folder) if location or folder != os.curdir else ""
                yield from _matches(pathlib.PurePath(escaped, *rest).parts)
            else:
                yield from (pathlib.Path(folder, name) for name in _names(folder))


def _folders(base: str) -> Iterator[str]:
    """A folder and all in it that are not hidden, each once whatever links lead to it."""
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
