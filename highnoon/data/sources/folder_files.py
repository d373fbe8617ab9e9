"""Finds the files of a folder that can be read, and counts those that are skipped."""

from __future__ import annotations

import pathlib
import re
from typing import NamedTuple

from highnoon.data.bad_records import BadRecords
from highnoon.data.document import DataError
from highnoon.data.formats.by_name import FOLDER_SUFFIXES, TEXT_SUFFIXES, format_of
from highnoon.data.records.read_options import ReadOptions
from highnoon.data.sources.holds_records import holds_records
from highnoon.files.folder_lock import LOCK_FILE

_PLAIN_SUFFIX = re.compile(r"\.[\w+-]{1,16}")
_NOT_READ = "not read: "
_OWN_FILES = {"model.safetensors", "metrics.jsonl", "tokens.bin"}
_STEP_FOLDER = re.compile(r"step_\d{8,}")
NO_RECORDS = f"{_NOT_READ}*.json without known fields"
OWN_OUTPUT = f"{_NOT_READ}folder of a model, checkpoints, logs or tokens"


class FolderFiles(NamedTuple):
    """The files of a folder.

    Args:
        files: The files to read, in the order of their names; those of a nested folder are in the position of
            its name.
        left_out: Counts the skipped files by suffix; hidden files and folders are not counted.
    """

    files: list[pathlib.Path]
    left_out: BadRecords


def find_files(folder: pathlib.Path, options: ReadOptions, *, is_nested: bool = True) -> FolderFiles:
    """Returns the files of a folder and, if `is_nested`, of the folders in it.

    Links to files are followed. Skipped are links to folders, which may lead back; models, checkpoints, logs
    and prepared tokens, see `is_own_output`; `.json` files without records, such as configurations and
    indexes; and empty files of formatted text, such as `.md`.

    Args:
        folder: The folder.
        options: How records are read, which determines what a record is.
        is_nested: Whether to search nested folders; if not, they are not counted either.

    Raises:
        DataError: If a folder cannot be listed.
    """
    found = FolderFiles([], BadRecords(skip=True))
    waiting = visible_entries(folder)[::-1]
    while waiting:
        path = waiting.pop()
        if path.is_file() and format_of(path) in FOLDER_SUFFIXES:
            if reason := _reason_to_leave_out(path, options):
                found.left_out.count(reason, str(path))
            else:
                found.files.append(path)
        elif not path.is_dir() or (is_nested and path.is_symlink()):
            found.left_out.count(_NOT_READ + _kind(path), str(path))
        elif is_nested:
            if is_own_output(path):
                found.left_out.count(OWN_OUTPUT, str(path))
            else:
                waiting += visible_entries(path)[::-1]
    return found


def is_own_output(folder: pathlib.Path, depth: int = 3) -> bool:
    """Returns whether a run or a preparation wrote a folder, so that its JSON files are not data.

    These are a saved model or checkpoint, a folder of checkpoints, logs, prepared tokens, an empty folder
    that a run has locked, and a folder with only such folders in it, as the output of `highnoon train`.

    Args:
        folder: The folder.
        depth: How many levels of folders to search.

    Raises:
        DataError: If the folder cannot be listed.
    """
    entries = visible_entries(folder)
    if not entries:
        # A run locks its output before it reads its data.
        return (folder / LOCK_FILE).exists()
    if any(path.name in _OWN_FILES or _STEP_FOLDER.fullmatch(path.name) for path in entries):
        return True
    is_looked_into = depth > 1 and all(path.is_dir() for path in entries)
    return is_looked_into and all(is_own_output(path, depth - 1) for path in entries)


def visible_entries(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the entries of a folder that are not hidden, sorted by name.

    Raises:
        DataError: If the folder cannot be listed.
    """
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DataError(f"cannot list {folder}: {error.strerror}") from error


def describe_files_left_out(left_out: BadRecords) -> str:
    """Returns the counts as text, such as `2 *.pdf, 1 *.html`, the most frequent first."""
    counts = {reason: found["count"] for reason, found in left_out.report()["reasons"].items()}
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count:,} {reason.removeprefix(_NOT_READ)}" for reason, count in ordered)


def _reason_to_leave_out(path: pathlib.Path, options: ReadOptions) -> str:
    """Returns why a file with a known suffix is not data, or an empty string if it is."""
    suffix = format_of(path)
    if suffix == ".json":
        return "" if holds_records(path, options) else NO_RECORDS
    is_empty = suffix in TEXT_SUFFIXES and path.stat().st_size == 0
    return f"{_NOT_READ}empty *{suffix}" if is_empty else ""


def _kind(path: pathlib.Path) -> str:
    if path.is_dir():
        return "linked folder"
    if not path.is_file():
        return "broken link or special file"
    suffix = format_of(path)
    return f"*{suffix}" if _PLAIN_SUFFIX.fullmatch(suffix) else "without a known suffix"
