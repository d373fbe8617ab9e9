"""Locks for one writer of a folder at a time, across processes and threads."""

from __future__ import annotations

import contextlib
import datetime
import errno
import itertools
import json
import os
import pathlib
import socket
import sys
import threading
import time
import warnings
from collections.abc import Iterator

from highnoon.files.foreign import ForeignDataError, parse_json
from highnoon.files.printable import printable

LOCK_FILE = ".highnoon.lock"
_COMMAND_CHARACTERS = 120
_OWNER_BYTES = 4096
_MOST_TRIES = 100

# Windows locks bytes, not files: one far after the owner's description, which remains readable.
_LOCKED_BYTE = 1 << 30


class FolderLockedError(ValueError):
    """A folder that another process or thread is writing."""


@contextlib.contextmanager
def folder_lock(
    folder: pathlib.Path, remedy: str = "wait until it ends, or choose another folder"
) -> Iterator[None]:
    """Creates `folder` and holds its lock, with a file `.highnoon.lock` in it.

    A process that dies releases its locks. The file is removed at the end, and so is the folder if it was
    created here and is empty.

    Args:
        folder: The folder.
        remedy: What to do if the folder is locked, for the error message.

    Raises:
        FolderLockedError: If another process, or another thread of this one, holds the lock.
        OSError: If the folder cannot be created or written.
    """
    made = _make(folder)
    try:
        with _held(folder / LOCK_FILE, folder, remedy):
            yield
    finally:
        _remove_empty(made)


@contextlib.contextmanager
def path_lock(
    path: pathlib.Path, remedy: str = "wait until it ends, or choose another path"
) -> Iterator[None]:
    """Holds the lock of a path that is replaced completely, with a file next to it; see `folder_lock`."""
    _make_folder(path.parent)
    with _held(lock_file_of(path), path, remedy):
        yield


def lock_file_of(path: pathlib.Path) -> pathlib.Path:
    """Returns the file that `path_lock` locks."""
    return path.with_name(f".{path.name}.highnoon-lock")


@contextlib.contextmanager
def _held(file: pathlib.Path, target: pathlib.Path, remedy: str) -> Iterator[None]:
    descriptor = _acquire(file, target, remedy)
    try:
        _write_owner(descriptor)
        yield
    finally:
        # While the lock is held: a process that waits for this file sees that it is gone, and creates
        # another.
        with contextlib.suppress(FileNotFoundError, PermissionError):
            file.unlink()
        os.close(descriptor)


def _acquire(file: pathlib.Path, target: pathlib.Path, remedy: str) -> int:
    num_absent = 0
    while True:
        try:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            # The previous owner has just removed the folder that it had created; or no file can be created
            # there (a file system such as /proc, a broken link).
            num_absent += 1
            if num_absent > _MOST_TRIES:
                raise
            _make_folder(file.parent)
            continue
        try:
            if not _try_lock(descriptor, target):
                raise FolderLockedError(f"{target} is being written by {_read_owner(file)}; {remedy}")
            if _is_same(descriptor, file):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _try_lock(descriptor: int, target: pathlib.Path) -> bool:
    """Locks an open file, across processes and across the threads of this one."""
    try:
        if os.name == "nt":
            import msvcrt

            os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
            return False
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
            raise
        warnings.warn(
            f"the file system of {target} has no locks ({error.strerror}): make sure that only one process "
            f"writes this folder",
            stacklevel=6,
        )
    return True


def _is_same(descriptor: int, file: pathlib.Path) -> bool:
    """Returns whether the locked file still has its name: the previous owner may have removed it."""
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False


def _write_owner(descriptor: int) -> None:
    owner = {
        "pid": os.getpid(),
        "thread": threading.get_ident(),
        "host": socket.gethostname(),
        "since": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": " ".join(getattr(sys, "argv", []))[:_COMMAND_CHARACTERS],
    }
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.ftruncate(descriptor, 0)
    # A full disk must not prevent a lock; the description is for people.
    with contextlib.suppress(OSError):
        os.write(descriptor, json.dumps(owner).encode())


def _read_owner(file: pathlib.Path) -> str:
    for _ in range(5):
        try:
            with file.open("rb") as stream:
                values = parse_json(stream.read(_OWNER_BYTES), str(file))
            pid, host, since = int(values["pid"]), str(values["host"]), str(values["since"])
            who = "this process" if (pid, host) == (os.getpid(), socket.gethostname()) else "process"
            thread = ", another thread or trainer" if who == "this process" else ""
            command = f": {values['command']}" if values.get("command") else ""
            return printable(f"{who} {pid}{thread} on {host} since {since}{command}").replace("\n", " ")
        except (OSError, ForeignDataError, KeyError, TypeError, ValueError):
            time.sleep(0.01)  # the owner may be writing its description
    return "another process"


def _make(folder: pathlib.Path) -> list[pathlib.Path]:
    """Creates a folder and returns the folders that did not exist, the innermost first."""
    absent = []
    for ancestor in (folder, *folder.parents):
        if ancestor.exists():
            break
        absent.append(ancestor)
    _make_folder(folder)
    return absent


def _make_folder(folder: pathlib.Path) -> None:
    """Creates a folder and its parents, even while the previous owner removes those that it had created."""
    for attempt in itertools.count(1):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return
        except (FileExistsError, FileNotFoundError):
            is_other = os.path.lexists(folder) and not folder.is_dir()
            if is_other or attempt == _MOST_TRIES:
                raise


def _remove_empty(folders: list[pathlib.Path]) -> None:
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:  # it is not empty, which is usual
            return
