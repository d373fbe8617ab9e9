"""Checkpoints: folders that are whole or absent.

checkpoints/
  latest                  a line that names the newest folder; so do
  best                    the one of the lowest held-out loss
  final                   the one at the run's end
  interrupted             the one that Ctrl-C or SIGTERM left, gone once the run has ended
  step_00001000/          a saved model (config.json, model.safetensors, tokenizer.json) and
    optimizer.safetensors slots, iterations, dropout's seed states
    state.json            where the run stands, its plan and its stages
    manifest.json         size and hash of every file above
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import re
import shutil
import warnings
from collections.abc import Callable, Iterator
from typing import Any

LATEST, BEST, FINAL, INTERRUPTED = ROLES = ("latest", "best", "final", "interrupted")
MANIFEST = "manifest.json"
STATE = "state.json"
_STEP_FOLDER = re.compile(r"step_(\d{8,})")


class CheckpointError(ValueError):
    """A checkpoint that cannot be written, found or read."""


def step_folder_name(step: int) -> str:
    return f"step_{step:08d}"


def write_folder(folder: pathlib.Path, write_files: Callable[[pathlib.Path], None]) -> None:
    """Makes `folder` with what `write_files` puts into it, whole or not at all.

    The files are written beside the target, synced, and renamed into place; an older folder of that name
    is replaced only then.

    Raises:
        CheckpointError: a file could not be written (a full disk, say); nothing is left behind.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir()
        write_files(beside)
        _write_manifest(beside)
        _replace(beside, folder)
    except Exception as error:
        shutil.rmtree(beside, ignore_errors=True)
        raise CheckpointError(
            f"could not write {folder}: {error}; earlier checkpoints are untouched. "
            "Free disk space or choose another folder"
        ) from error
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _replace(beside: pathlib.Path, folder: pathlib.Path) -> None:
    displaced = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    shutil.rmtree(displaced, ignore_errors=True)
    if folder.exists():
        os.replace(folder, displaced)
    os.replace(beside, folder)
    if displaced.exists():
        _keep_foreign_files(displaced, folder)
        shutil.rmtree(displaced)
    _sync(folder.parent)


def _keep_foreign_files(old: pathlib.Path, new: pathlib.Path) -> None:
    """Moves files that the old checkpoint did not write, such as weights beside it, into the new one."""
    manifest = old / MANIFEST
    written = json.loads(manifest.read_text(encoding="utf-8")) if manifest.is_file() else {}
    for path in old.iterdir():
        if path.name not in written and path.name != MANIFEST and not (new / path.name).exists():
            os.replace(path, new / path.name)


def _write_manifest(folder: pathlib.Path) -> None:
    entries = {}
    for path in sorted(folder.iterdir()):
        _sync(path)
        entries[path.name] = {"bytes": path.stat().st_size, "blake2b": _file_hash(path)}
    write_json(folder / MANIFEST, entries)
    _sync(folder / MANIFEST)
    _sync(folder)


def _sync(path: pathlib.Path) -> None:
    """Flushes a file or folder to disk; Windows cannot open a folder and needs no such flush."""
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _file_hash(path: pathlib.Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def write_json(path: pathlib.Path, values: Any) -> None:
    path.write_text(json.dumps(values, indent=1), encoding="utf-8")


def read_state(folder: pathlib.Path) -> dict[str, Any]:
    return json.loads((folder / STATE).read_text(encoding="utf-8"))


def require_own_folder(folder: pathlib.Path) -> None:
    """Raises CheckpointError where a folder to be replaced holds something that is no checkpoint."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).exists()):
        raise CheckpointError(f"{folder} exists and is no saved trainer; choose another path, or remove it")


def point_at(folder: pathlib.Path, role: str = LATEST) -> None:
    """Makes the file of a role beside `folder` name it, in one replacement."""
    beside = folder.with_name(f".{role}.{os.getpid()}.tmp")
    beside.write_text(folder.name + "\n", encoding="utf-8")
    _sync(beside)
    os.replace(beside, folder.with_name(role))


def folder_of(directory: pathlib.Path, role: str) -> pathlib.Path | None:
    """Returns the folder that has a role, or None."""
    pointer = directory / role
    name = pointer.read_text(encoding="utf-8").strip() if pointer.is_file() else ""
    return directory / name if name else None


def step_folders(directory: pathlib.Path) -> list[pathlib.Path]:
    """Returns the checkpoint folders in a directory, oldest step first."""
    if not directory.is_dir():
        return []
    found = [path for path in directory.iterdir() if _STEP_FOLDER.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step_")))


def prune(directory: pathlib.Path, keep: int, keep_every: int | None = None) -> None:
    """Deletes checkpoint folders but the `keep` newest, those with a role, and multiples of `keep_every`."""
    kept = {folder_of(directory, role) for role in ROLES}
    for folder in step_folders(directory)[:-keep]:
        step = int(folder.name.removeprefix("step_"))
        if folder not in kept and (keep_every is None or step % keep_every):
            shutil.rmtree(folder)


def damage(folder: pathlib.Path) -> str | None:
    """Returns what is wrong with a checkpoint folder, or None where it is whole."""
    try:
        entries = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return f"its manifest cannot be read ({error})"
    if STATE not in entries:
        return f"it has no {STATE}"
    for name, entry in entries.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != entry["bytes"]:
            return f"{name} has {path.stat().st_size} bytes in place of {entry['bytes']}"
        if _file_hash(path) != entry["blake2b"]:
            return f"the bytes of {name} have changed"
    return None


def find_checkpoint(path: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the whole checkpoint folder that `path` means.

    `path` may be a checkpoint folder, a directory of them (its highest step), or a role in one: `latest`,
    `best`, `final`, `interrupted`. A damaged folder is passed over for the one before it, with a warning.

    Raises:
        CheckpointError: nothing there, or nothing whole.
    """
    wanted = pathlib.Path(path)
    reasons: list[str] = []
    for folder in _candidates(wanted):
        reason = damage(folder)
        if reason is None:
            if reasons:
                warnings.warn(f"resuming from {folder}: {'; '.join(reasons)}", stacklevel=3)
            return folder
        reasons.append(f"{folder.name} is damaged: {reason}")
    detail = "; ".join(reasons) or "it holds no step_* folder"
    raise CheckpointError(
        f"no checkpoint at {wanted} ({detail}); expected a step_* folder, a directory of them, or its "
        f"{', '.join(f'`{role}`' for role in ROLES)}"
    )


def explain_choice(folder: pathlib.Path) -> str:
    """Returns a line on a checkpoint that was chosen: its roles, and the steps beside it."""
    directory = folder.parent
    roles = [role for role in ROLES if folder_of(directory, role) == folder]
    others = [
        f"`{role}` is {other.name}"
        for role in ROLES
        if (other := folder_of(directory, role)) not in (None, folder) and other is not None
    ]
    return f"going on from {folder} ({', '.join(roles) or 'no role'}; {'; '.join(others) or 'nothing newer'})"


def _candidates(wanted: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields folders to try, the wanted one first, then the older ones beside it."""
    directory, first = wanted.parent, wanted
    if wanted.name in ROLES:
        first = folder_of(directory, wanted.name) or wanted
    elif wanted.is_dir() and step_folders(wanted):
        directory, first = wanted, step_folders(wanted)[-1]
    if first.is_dir():
        yield first
    match = _STEP_FOLDER.fullmatch(first.name)
    if match:
        yield from (folder for folder in reversed(step_folders(directory)) if folder.name < first.name)


def set_aside_older_run(directory: pathlib.Path, run_id: str) -> pathlib.Path | None:
    """Moves the checkpoints of another run into a folder of their own, so that a new run overwrites nothing.

    Returns:
        Where they went, or None where there were none.
    """
    folders = [folder for folder in step_folders(directory) if _run_of(folder) != run_id]
    if not folders:
        return None
    target = directory / f"run_{_run_of(folders[-1])}"
    target.mkdir(exist_ok=True)
    for folder in folders:
        shutil.rmtree(target / folder.name, ignore_errors=True)
        os.replace(folder, target / folder.name)
    for role in ROLES:
        if (pointer := directory / role).is_file():
            os.replace(pointer, target / role)
    return target


def _run_of(folder: pathlib.Path) -> str:
    try:
        return str(read_state(folder)["run_id"])
    except (OSError, ValueError, KeyError):
        return "damaged"
