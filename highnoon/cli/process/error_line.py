"""An error as one line: what happened, where, and what to do."""

from __future__ import annotations

import argparse
import errno
import os
import pathlib
import sys
import tempfile

from highnoon.files.name_path import FULL_DISK, free_bytes
from highnoon.files.printable import printable

_MAX_CHARACTERS = 4000
_REMEDIES = {
    errno.ENOSPC: "free disk space, or choose another folder",
    errno.EDQUOT: "free disk space within your quota, or choose another folder",
    errno.EACCES: "check its permissions, or choose another path",
    errno.EPERM: "check its permissions, or choose another path",
    errno.EROFS: "choose a path that can be written",
    errno.EEXIST: "it is in the way; choose another path",
    errno.EISDIR: "expected a file",
    errno.ENOTDIR: "expected a folder where the path has a file",
    errno.ENAMETOOLONG: "choose a shorter path",
    errno.EMFILE: "raise the limit of open files (`ulimit -n`)",
}
_MEMORY_REMEDY = (
    "free memory, raise the limit of this process (`ulimit -v`), or use a smaller model, `batch_size` or "
    "`max_seq_length`"
)
_NEAR = 0.5
"""Fraction of a memory limit beyond which an error is attributed to it: a failed request may be large."""
_FULL = 2**20
"""A disk with fewer free bytes may be the full one."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a lack of memory, or a limit of it, caused an error.

    Native code that gets no memory fails in many ways: under a limit that the process has nearly reached,
    any error may be caused by it.
    """
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return True
    tensorflow = sys.modules.get("tensorflow")
    # An import that a limit stopped may leave a package incomplete.
    errors = getattr(tensorflow, "errors", None)
    if errors is not None and isinstance(error, errors.ResourceExhaustedError):
        return True
    return memory_limit() is not None and peak_memory() > _NEAR * (memory_limit() or 0)


def abort_line(name: str) -> str:
    """Returns a line about a process that a signal ended under a memory limit."""
    return f"out of memory{_bound()}, most likely: the process was ended by {name}; {_MEMORY_REMEDY}"


def _bound() -> str:
    limit = memory_limit()
    return "" if limit is None else f" under a limit of {limit / 2**30:,.1f} GiB of address space"


def memory_limit() -> int | None:
    """Returns the limit of this process's address space in bytes (`ulimit -v`), or None."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def peak_memory() -> int:
    """Returns the most bytes of address space that this process has had; 0 where the system does not say."""
    try:
        lines = pathlib.Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmPeak:")), 0)


def error_line(error: BaseException, arguments: argparse.Namespace) -> str:
    """Returns an error as one line that is safe to print.

    Args:
        error: The error; its notes follow it.
        arguments: The command's arguments, whose paths are checked if a full disk is not named.
    """
    parts = [_message(error, arguments), *getattr(error, "__notes__", ())]
    line = printable(" ".join("; ".join(parts).split()))
    return line if len(line) <= _MAX_CHARACTERS else line[:_MAX_CHARACTERS] + "..."


def _message(error: BaseException, arguments: argparse.Namespace) -> str:
    if is_out_of_memory(error):
        detail = str(error).strip().split("\n")[0]
        return f"out of memory{_bound()}{f': {detail}' if detail else ''}; {_MEMORY_REMEDY}"
    if isinstance(error, ImportError) and "failed to map segment" in str(error):
        return f"{error}; {_MEMORY_REMEDY}"
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        return _os_message(error, arguments)
    return str(error) or type(error).__name__


def _os_message(error: OSError, arguments: argparse.Namespace) -> str:
    number = error.errno or 0
    reason = error.strerror or os.strerror(number)
    where = "".join(f"{_path(name)}: " for name in (error.filename, error.filename2) if name is not None)
    if number in FULL_DISK:
        full = full_folders(arguments) if error.filename is None else []
        where = where or (f"{', '.join(full)}: " if full else "")
        if error.filename is not None and "free" not in reason:
            reason += f" ({free_bytes(error.filename) or 0:,} bytes are free)"
    remedy = _MEMORY_REMEDY if number == errno.ENOMEM else _REMEDIES.get(number)
    # An error with a `;` has a remedy of its own.
    return f"{where}{reason}" + (f"; {remedy}" if remedy and ";" not in reason else "")


def _path(name: object) -> str:
    if not isinstance(name, (str, bytes, os.PathLike)):
        return f"file descriptor {name}"
    return os.fsdecode(name) or "a path that is empty"


def full_folders(arguments: argparse.Namespace) -> list[str]:
    """Returns the folders that a command may write to whose disk is almost full."""
    given = [value for value in vars(arguments).values() if isinstance(value, str) and value]
    cache = os.environ.get("HIGHNOON_CACHE") or os.path.expanduser("~/.cache/highnoon")
    found = []
    for path in (*given, cache, tempfile.gettempdir(), os.getcwd()):
        if "\0" in path or path in found:
            continue
        free = free_bytes(path)
        if free is not None and free < _FULL:
            found.append(path)
    return found
