"""Checkpoints: folders that are complete or absent.

checkpoints/
  latest                  names the newest folder, with a hash of the name in a second line; so do
  best                    the one of the lowest held-out loss
  final                   the one at the run's end
  interrupted             the one that Ctrl-C or SIGTERM left, removed once the run has ended
  step_00001000/          a saved model (config.json, model.safetensors, tokenizer.json) and
    optimizer.safetensors slots, iterations, dropout's seed states
    state.json            position of the run, its plan and its stages
    manifest.json         size and hash of every file above, and a hash of itself
"""

from __future__ import annotations

import itertools
import json
import os
import pathlib
import shutil
import warnings
from collections.abc import Callable
from typing import Any

from highnoon.files import whole_folder as whole_folder_module
from highnoon.files.expand_home import expand_home
from highnoon.files.folder_content import folder_content
from highnoon.files.folder_lock import FolderLockedError
from highnoon.files.folder_manifest import MANIFEST, DamagedFolderError, file_damage, read_manifest
from highnoon.files.foreign import ForeignDataError, read_json
from highnoon.files.shown import shown
from highnoon.files.step_folders import (
    BEST,
    FINAL,
    INTERRUPTED,
    LATEST,
    ROLES,
    STEP_FOLDER,
    CheckpointError,
    DamagedPointerError,
    folder_of,
    in_checkpoints,
    point_at,
    roles_of,
    step_folder_name,
    step_folders,
    step_of,
)
from highnoon.files.whole_folder import recover_folder, whole_folder
from highnoon.training.checkpoints.checkpoint_state import is_run_id, state_problem

__all__ = [
    "BEST",
    "FINAL",
    "INTERRUPTED",
    "LATEST",
    "ROLES",
    "STATE",
    "CheckpointError",
    "DamagedPointerError",
    "clear_leftovers",
    "damage",
    "explain_choice",
    "find_checkpoint",
    "folder_of",
    "point_at",
    "prune",
    "read_learner_state",
    "read_state",
    "require_own_folder",
    "roles_of",
    "set_aside_older_run",
    "step_folder_name",
    "step_folders",
    "write_folder",
    "write_json",
]

STATE = "state.json"
_MOST_STEPS = 5


def write_folder(folder: pathlib.Path, write_files: Callable[[pathlib.Path], None]) -> None:
    """Makes `folder` with what `write_files` puts into it, whole or not at all; see `whole_folder`.

    Raises:
        CheckpointError: a file could not be written (a full disk, say); nothing is left behind.
    """
    try:
        with whole_folder(folder) as new:
            write_files(new)
    except FolderLockedError as error:
        raise CheckpointError(str(error)) from error
    except Exception as error:
        raise CheckpointError(
            f"could not write {folder}: {error}; earlier checkpoints are untouched. "
            "Free disk space or choose another folder"
        ) from error


def clear_leftovers(directory: pathlib.Path) -> None:
    """Removes what killed runs left half written in a directory of checkpoints; call it under its lock."""
    whole_folder_module.clear_leftovers(directory, STEP_FOLDER)
    for role in ROLES:
        for path in directory.glob(f".{role}.*.tmp"):
            path.unlink(missing_ok=True)


def write_json(path: pathlib.Path, values: Any) -> None:
    path.write_text(json.dumps(values, indent=1), encoding="utf-8")


def read_state(folder: pathlib.Path) -> dict[str, Any]:
    """Returns the state that `Trainer` wrote into a checkpoint.

    Raises:
        CheckpointError: it cannot be read or does not have the form that a trainer writes.
    """
    try:
        values: dict[str, Any] = read_json(folder / STATE)
    except (OSError, ForeignDataError) as error:
        raise CheckpointError(f"{folder} is damaged: {STATE} cannot be read ({error})") from None
    if problem := state_problem(values, is_complete=True):
        raise CheckpointError(
            f"{folder} is damaged: {STATE} is no trainer's state ({problem}); choose another checkpoint"
        )
    return values


def read_learner_state(folder: pathlib.Path) -> dict[str, Any]:
    """Returns what a checkpoint says of its arrays.

    Returns:
        `trainable`, patterns of the weights that were trained; `slots_since`, see `FunctionalOptimizer`; and
        `weight_paths` of the model. Checkpoints of older versions say nothing: they trained all weights.

    Raises:
        CheckpointError: it cannot be read.
    """
    try:
        values = read_json(folder / STATE)
    except (OSError, ForeignDataError) as error:
        raise CheckpointError(f"{folder} is damaged: {STATE} cannot be read ({error})") from None
    if problem := state_problem(values):
        raise CheckpointError(f"{folder} is damaged: {STATE} does not fit ({problem})")
    learner = values.get("learner") or {"trainable": None, "slots_since": []}
    return {**learner, "weight_paths": values.get("weight_paths")}


def require_own_folder(folder: pathlib.Path) -> None:
    """Raises CheckpointError where a folder to be replaced holds something that is no checkpoint."""
    recover_folder(folder)
    is_ours = (folder / STATE).exists() and (folder / MANIFEST).exists()
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not is_ours):
        raise CheckpointError(f"{folder} exists and is no saved trainer; choose another path, or remove it")


def prune(directory: pathlib.Path, keep: int, keep_every: int | None = None) -> None:
    """Deletes checkpoint folders but the `keep` newest, those with a role, and multiples of `keep_every`.

    If the file of a role is damaged nothing is deleted, with a warning: any folder could have the role.
    """
    try:
        kept = {folder_of(directory, role) for role in ROLES}
    except DamagedPointerError as error:
        warnings.warn(f"no older checkpoint is deleted: {error}; remove that file", stacklevel=2)
        return
    for folder in step_folders(directory)[:-keep]:
        if folder not in kept and (keep_every is None or step_of(folder) % keep_every):
            shutil.rmtree(folder)


def damage(folder: pathlib.Path) -> str | None:
    """Returns what is wrong with a checkpoint folder, or None if it is undamaged."""
    try:
        entries = read_manifest(folder)
    except DamagedFolderError as error:
        return str(error)
    if STATE not in entries:
        return f"it has no {STATE}"
    if reason := file_damage(folder, entries):
        return reason
    try:
        values = read_json(folder / STATE)
        # Every trainer writes a format; a state without one is not a trainer's, and may have any form.
        problem = state_problem(values, is_complete="format" in values)
    except (OSError, ForeignDataError) as error:
        return f"{STATE} cannot be read ({error})"
    return problem and f"{STATE} is no trainer's state ({problem})"


def find_checkpoint(path: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the undamaged checkpoint folder that `path` names.

    `path` may be a checkpoint folder, a directory of them (its highest step), a role in one (`latest`,
    `best`, `final`, `interrupted`), or the folder of a run instead of its `checkpoints`; a name of a training
    guide, such as `hatching_step_1000.pt`, see `in_checkpoints`. A damaged or missing folder is
    skipped for the one before it, with a warning; where the file of a role is damaged, or names a folder
    that is not there, the newest undamaged one is taken.

    Raises:
        CheckpointError: there is none, or none that is undamaged.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise CheckpointError(f"a checkpoint is given by its path; received {shown(path)}")
    wanted = in_checkpoints(expand_home(path))
    recover_folder(wanted)
    candidates, reasons = _candidates(wanted)
    for folder in candidates:
        reason = damage(folder)
        if reason is None:
            if reasons:
                warnings.warn(f"resuming from {folder}: {'; '.join(reasons)}", stacklevel=3)
            return folder
        reasons.append(f"{folder.name} is damaged: {reason}")
    is_known = any((wanted / name).exists() for name in (STATE, MANIFEST)) or wanted.name in ROLES
    is_other = not is_known and not (STEP_FOLDER.fullmatch(wanted.name) and step_folders(wanted.parent))
    detail = folder_content(wanted) if is_other and len(reasons) < 2 else "; ".join(reasons)
    raise CheckpointError(
        f"no checkpoint at {wanted} ({detail or 'it holds no step_* folder'}); expected the folder of a run, "
        f"a step_* folder, a directory of them, or its {', '.join(f'`{role}`' for role in ROLES)}; to begin "
        "a run: highnoon train --data PATH"
    )


def explain_choice(folder: pathlib.Path) -> str:
    """Returns a line on a checkpoint that was chosen: its roles, and the other steps."""
    directory, own = folder.parent, roles_of(folder)
    others = [
        f"`{role}` is {other.name}"
        for other in step_folders(directory)
        if other != folder
        for role in roles_of(other)
    ]
    return f"resuming from {folder} ({', '.join(own) or 'no role'}; {'; '.join(others) or 'nothing newer'})"


def _candidates(wanted: pathlib.Path) -> tuple[list[pathlib.Path], list[str]]:
    """Returns folders to try, the wanted one first, then older ones in its directory; and what is wrong."""
    if wanted.name in ROLES and wanted.is_file():
        return _candidates_of_role(wanted.parent, wanted.name)
    directory, first = wanted.parent, wanted
    if folders := step_folders(wanted):
        directory, first = wanted, folders[-1]
    is_missing = not first.is_dir() and STEP_FOLDER.fullmatch(first.name) is not None
    reasons = [f"{first.name} is not there{_steps_there(directory)}"] if is_missing else []
    return [*([first] if first.is_dir() else []), *_older(directory, first)], reasons


def _steps_there(directory: pathlib.Path) -> str:
    """Returns the end of a line that says which steps a directory has."""
    steps = step_folders(directory)
    return f"; the steps are {', '.join(folder.name for folder in steps[-_MOST_STEPS:])}" if steps else ""


def _candidates_of_role(directory: pathlib.Path, role: str) -> tuple[list[pathlib.Path], list[str]]:
    newest_first = step_folders(directory)[::-1]
    try:
        first = folder_of(directory, role)
    except DamagedPointerError as error:
        return newest_first, [str(error)]
    if first is None:
        return newest_first, [f"`{role}` is no longer there"]
    recover_folder(first)
    if not first.is_dir():
        return newest_first, [f"`{role}` names {first.name}, which is not there"]
    return [first, *_older(directory, first)], []


def _older(directory: pathlib.Path, first: pathlib.Path) -> list[pathlib.Path]:
    if not STEP_FOLDER.fullmatch(first.name):
        return []
    return [folder for folder in step_folders(directory)[::-1] if step_of(folder) < step_of(first)]


def set_aside_older_run(directory: pathlib.Path, run_id: str) -> pathlib.Path | None:
    """Moves the checkpoints of another run into a folder of their own, so that a new run overwrites nothing.

    Damaged folders among those of the run itself count as its own and are not moved.

    Returns:
        Where they went, or None where there were none.
    """
    runs = {folder: _run_of(folder) for folder in step_folders(directory)}
    is_resumed = run_id in runs.values()
    folders = [f for f, run in runs.items() if run != run_id and not (is_resumed and run is None)]
    if not folders:
        return None
    known = [run for run in (runs[folder] for folder in folders) if run is not None]
    target = directory / f"run_{known[-1] if known else 'damaged'}"
    target.mkdir(exist_ok=True)
    roles = {folder: roles_of(folder) for folder in folders}
    for folder in folders:
        os.replace(folder, _free_path(target / folder.name))
        for role in roles[folder]:
            os.replace(directory / role, target / role)
    if not is_resumed:
        # The remaining roles name folders that no longer exist, or none at all.
        for role in ROLES:
            (directory / role).unlink(missing_ok=True)
    return target


def _free_path(path: pathlib.Path) -> pathlib.Path:
    """Returns `path`, or where something is there already `path` with a number."""
    numbered = (path.with_name(f"{path.name}-{number}") for number in itertools.count(2))
    return next(found for found in itertools.chain([path], numbered) if not os.path.lexists(found))


def _run_of(folder: pathlib.Path) -> str | None:
    """Returns the id of the run that wrote a checkpoint, None where that cannot be read."""
    try:
        if file_damage(folder, read_manifest(folder), [STATE]):
            return None
        run_id = read_json(folder / STATE).get("run_id")
    except (OSError, ForeignDataError, DamagedFolderError):
        return None
    return run_id if is_run_id(run_id) else None
