"""Writes folders atomically: a killed writer leaves the new folder complete or the old one unchanged."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import pathlib
import re
import shutil
import time
from collections.abc import Collection, Iterator

from highnoon.files.folder_lock import FolderLockedError, lock_file_of, path_lock
from highnoon.files.folder_manifest import (
    EXPORT_MANIFEST,
    MANIFEST,
    DamagedFolderError,
    has_manifest,
    read_manifest,
    write_manifest,
)
from highnoon.files.name_path import name_path
from highnoon.files.sync_to_disk import sync_to_disk

_LEFTOVER = re.compile(r"\.(?P<name>.+)\.(?:[0-9]+\.(?:tmp|old)|highnoon-lock)")
_OLD_LEFTOVER = re.compile(r"[a-z0-9_]{8}")
_EXCHANGE = 2
_AT_FDCWD = -100
_LOOKS, _SECONDS_BETWEEN_LOOKS = 50, 0.02


@contextlib.contextmanager
def whole_folder(
    path: pathlib.Path,
    own_files: Collection[str] = (),
    manifest_name: str = MANIFEST,
    kept_files: Collection[str] = (),
) -> Iterator[pathlib.Path]:
    """Yields an empty folder to write into, which replaces `path` if nothing was raised.

    The new folder gets a manifest of its files, is flushed to disk, and is exchanged with the old one in one
    system call. If the file system does not support that, two renames replace it, and `recover_folder`
    finishes after a kill between them. Leftovers of killed writers of the same path are removed first.

    Args:
        path: The folder, which may not exist yet. A link is followed.
        own_files: Names of files that are replaced or removed, in addition to those in the old manifest.
            Other files in `path` are kept.
        manifest_name: Name of the manifest.
        kept_files: Names of files that are kept even if they are in the old manifest.

    Raises:
        FolderLockedError: If another process or thread is writing `path`.
        OSError: For example if the disk is full; `path` is unchanged.
    """
    path = path.resolve() if path.is_symlink() else path
    advice = f"{path.name} is unchanged: free disk space or choose another path"
    with path_lock(path), name_path(path, advice=advice):
        _recover(path)
        _clear(path)
        new = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            new.mkdir()
            yield new
            write_manifest(new, manifest_name)
            if path.is_dir():
                shutil.copymode(path, new)
                _link_others(path, new, {*own_files, *_listed(path), manifest_name} - {*kept_files})
            replace_folder(new, path)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise


def replace_folder(new: pathlib.Path, path: pathlib.Path) -> None:
    """Moves the folder `new` to `path`, and removes the old folder; call it with `path_lock(path)` held.

    Args:
        new: A complete folder next to `path`, flushed to disk.
        path: The path to replace.
    """
    if not os.path.lexists(path):
        os.replace(new, path)
    elif not exchange(new, path):
        _replace_by_two_renames(new, path)
    sync_to_disk(path.parent)
    if new.exists():
        shutil.rmtree(new)
    _clear(path)


def recover_folder(path: str | os.PathLike[str]) -> None:
    """Restores `path` if a writer was killed while it replaced it; does nothing if `path` exists.

    Raises:
        OSError: If it cannot be renamed, for example in a read-only folder.
    """
    path = pathlib.Path(path)
    if os.path.lexists(path) or not any(
        found.name.endswith(".old") or _is_of_old_version(found, path) for found in _leftovers(path)
    ):
        return
    for _ in range(_LOOKS):
        try:
            with path_lock(path):
                _recover(path)
            return
        except FolderLockedError:
            # A running writer is between its two renames.
            if os.path.lexists(path):
                return
            time.sleep(_SECONDS_BETWEEN_LOOKS)


def recover_folders(directory: pathlib.Path, names: re.Pattern[str]) -> None:
    """Calls `recover_folder` for all folders in `directory` whose names match."""
    found = (_LEFTOVER.fullmatch(entry.name) for entry in _entries(directory) if entry.name.endswith(".old"))
    for name in {match["name"] for match in found if match and names.fullmatch(match["name"])}:
        recover_folder(directory / name)


def clear_leftovers(directory: pathlib.Path, names: re.Pattern[str]) -> None:
    """Removes leftovers of killed writers in `directory`, for folders whose names match.

    Folders of running writers are not touched.
    """
    found = (_LEFTOVER.fullmatch(entry.name) for entry in _entries(directory))
    for name in {match["name"] for match in found if match and names.fullmatch(match["name"])}:
        with contextlib.suppress(FolderLockedError), path_lock(directory / name):
            _recover(directory / name)
            _clear(directory / name)


def exchange(one: pathlib.Path, other: pathlib.Path) -> bool:
    """Exchanges two paths atomically; returns False if the system or the file system does not support it.

    Raises:
        OSError: For other errors.
    """
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    paths = os.fsencode(one), os.fsencode(other)
    if rename(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM):
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))


def _replace_by_two_renames(new: pathlib.Path, path: pathlib.Path) -> None:
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    os.replace(path, old)
    try:
        os.replace(new, path)
    except BaseException:
        os.replace(old, path)
        raise


def _recover(path: pathlib.Path) -> None:
    """Finishes an interrupted replacement, with the lock held: the folder next to `.old` is complete."""
    if os.path.lexists(path):
        return
    for found in _leftovers(path):
        new = old = None
        if found.name.endswith(".old"):
            new, old = found.with_suffix(".tmp"), found
        elif _is_of_old_version(found, path):
            new, old = found / "new", found / "old"
        if old is not None and new is not None and old.exists():
            os.replace(new if new.exists() else old, path)
            sync_to_disk(path.parent)
            return


def _clear(path: pathlib.Path) -> None:
    """Removes leftovers, with the lock held, so that they belong to killed writers."""
    for found in _leftovers(path):
        if found.is_dir() and not found.is_symlink():
            shutil.rmtree(found)
        elif found != lock_file_of(path):
            found.unlink(missing_ok=True)


def _leftovers(path: pathlib.Path) -> list[pathlib.Path]:
    found = []
    for entry in _entries(path.parent):
        match = _LEFTOVER.fullmatch(entry.name)
        if match and match["name"] == path.name or _is_of_old_version(pathlib.Path(entry.path), path):
            found.append(pathlib.Path(entry.path))
    return found


def _entries(directory: pathlib.Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except (OSError, ValueError):  # no such directory, or an invalid name
        return []


def _is_of_old_version(found: pathlib.Path, path: pathlib.Path) -> bool:
    """Returns whether an older version left a folder: `.model.ab12cd34` with only `new` or `old` in it."""
    prefix = f".{path.name}."
    if not found.name.startswith(prefix) or not _OLD_LEFTOVER.fullmatch(found.name.removeprefix(prefix)):
        return False
    names = {entry.name for entry in _entries(found)}
    return found.is_dir() and names <= {"new", "old"}


def _listed(path: pathlib.Path) -> set[str]:
    """Returns the files in the manifests of a folder; a damaged manifest has none."""
    names: set[str] = set()
    for name in (MANIFEST, EXPORT_MANIFEST):
        if has_manifest(path, name):
            with contextlib.suppress(DamagedFolderError):
                names |= {name, *read_manifest(path, name)}
    return names


def _link_others(old: pathlib.Path, new: pathlib.Path, own: Collection[str]) -> None:
    """Links the other files of the old folder into the new one; the old one keeps them until removal."""
    for entry in _entries(old):
        target = new / entry.name
        if entry.name in own or os.path.lexists(target):
            continue
        if entry.is_dir(follow_symlinks=False):
            shutil.copytree(entry.path, target, symlinks=True, copy_function=_link)
        else:
            _link(entry.path, str(target))
    sync_to_disk(new)


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target, follow_symlinks=False)
    except (OSError, NotImplementedError):  # a file system without links, a special file
        shutil.copy2(source, target, follow_symlinks=False)
    return target
