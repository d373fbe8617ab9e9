"""The checkpoint from which a run of an expert or of a router resumes, and why it is this one."""

from __future__ import annotations

import os
import pathlib
import warnings
from typing import Any, NamedTuple

from highnoon.config import require_path
from highnoon.files.step_folders import (
    BEST,
    CHECKPOINTS_FOLDER,
    INTERRUPTED,
    LATEST,
    ROLES,
    STEP_FOLDER,
    CheckpointError,
    DamagedPointerError,
    checkpoint_in,
    epochs_of,
    folder_of,
    in_checkpoints,
    roles_of,
    step_folders,
    step_of,
)
from highnoon.training.checkpoints.checkpoint import damage, read_state

SUFFIX = ".pt"
"""The documents give it to the names of checkpoints; it may be left out."""


class Choice(NamedTuple):
    """A checkpoint, and a line that says why it is resumed."""

    folder: pathlib.Path
    line: str


def choose_checkpoint(
    run: pathlib.Path, resume: Any, snapshot_epochs: int = 5, run_id: str | None = None
) -> Choice | None:
    """Returns the checkpoint of a run that `resume` means.

    True takes the highest step among all checkpoints of the run, an interrupted one, the snapshots of epochs
    and the best included: an interrupted checkpoint may be older than a snapshot. Damaged ones are skipped
    with a warning, and so are those of another run. A path or a name is taken as it is.

    Args:
        run: Folder of the run, such as `checkpoints/transformer_expert`.
        resume: True, a path, or one of the names `RUN`, `RUN_epochN` and `RUN_interrupted`, each with or
            without `.pt`; a name is looked for next to `run` too, and that of a step or a role in it.
        snapshot_epochs: Epochs between snapshots that have a name.
        run_id: The run whose checkpoints true takes; None for the newest in the folder.

    Returns:
        None where `resume` is true and there is no checkpoint.

    Raises:
        CheckpointError: nothing is at the path, or it is damaged.
    """
    if resume is not True:
        folder = _named(run, pathlib.Path(require_path("resume", resume, CheckpointError)))
        return Choice(folder, f"resuming from {folder}, step {step_of(folder):,}: as given")
    sound = _sound(run / CHECKPOINTS_FOLDER, run_id)
    if not sound:
        return None
    chosen, *others = sound
    names = {folder: name for folder in sound if (name := view_of(folder, run, snapshot_epochs))}
    known = [f"{name} is of step {step_of(folder):,}" for folder, name in names.items() if folder in others]
    reason = "the highest step of this run" + (f" ({'; '.join(known)})" if known else "")
    name = names.get(chosen, chosen.name)
    return Choice(chosen, f"resuming from {name}, step {step_of(chosen):,}: {reason}")


def view_of(folder: pathlib.Path, run: pathlib.Path, snapshot_epochs: int = 5) -> str | None:
    """Returns the name that the documents have for a checkpoint; None for one without.

    Args:
        folder: The checkpoint.
        run: Folder of its run.
        snapshot_epochs: Epochs between snapshots that have a name.
    """
    roles, epochs = roles_of(folder), epochs_of(folder)
    if INTERRUPTED in roles:
        return f"{run.name}_{INTERRUPTED}"
    if epochs is not None and epochs % snapshot_epochs == 0:
        return f"{run.name}_epoch{epochs}"
    return run.name if BEST in roles else None


def _sound(directory: pathlib.Path, run_id: str | None) -> list[pathlib.Path]:
    """The undamaged checkpoints of a run in a directory, of the newest for None, highest step first."""
    undamaged = {}
    for folder in reversed(step_folders(directory)):
        if reason := damage(folder):
            warnings.warn(f"{folder} is skipped, since it is damaged: {reason}", stacklevel=4)
            continue
        try:
            undamaged[folder] = read_state(folder)["run_id"]
        except CheckpointError as error:
            warnings.warn(f"{folder} is skipped: {error}", stacklevel=4)
    if run_id is None:
        run_id = undamaged.get(_latest(directory)) or next(iter(undamaged.values()), None)
    for folder, found in undamaged.items():
        if found != run_id:
            warnings.warn(f"{folder} is skipped, since it is of the run {found}, not {run_id}", stacklevel=4)
    return [folder for folder, found in undamaged.items() if found == run_id]


def _latest(directory: pathlib.Path) -> pathlib.Path:
    try:
        return folder_of(directory, LATEST) or directory
    except DamagedPointerError:
        return directory


def _named(run: pathlib.Path, given: pathlib.Path) -> pathlib.Path:
    is_name = given.parent == pathlib.Path() and not os.path.lexists(given)
    path = _of_name(run, given) if is_name else given
    found = in_checkpoints(path)
    if found.name == CHECKPOINTS_FOLDER and not (found / BEST).is_file():
        found = next(reversed(step_folders(found)), found)
    elif found.name == CHECKPOINTS_FOLDER:
        found = found / BEST
    if found.name in ROLES:
        found = folder_of(found.parent, found.name) or found
    if not STEP_FOLDER.fullmatch(found.name) or not found.is_dir():
        raise CheckpointError(f"no checkpoint at {path}; {_there(run)}")
    if reason := damage(found):
        raise CheckpointError(
            f"{found} is damaged: {reason}; give another checkpoint, or --resume alone, which takes the "
            "newest one that is not"
        )
    return found


def _of_name(run: pathlib.Path, given: pathlib.Path) -> pathlib.Path:
    """Returns the path of a name: of a step or a role in the run, or of a checkpoint next to its folder."""
    inside = pathlib.Path(checkpoint_in(given, run / CHECKPOINTS_FOLDER))
    return run.parent / given if inside == given else inside


def _there(run: pathlib.Path) -> str:
    folders = step_folders(run / CHECKPOINTS_FOLDER)
    names = [view_of(folder, run, 1) or folder.name for folder in folders]
    return f"there are {', '.join(names)}" if names else f"{run} has none; leave --resume out to begin"
