"""The folders of checkpoints in a directory, and the files that name those with a role."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import re
from typing import Any

from highnoon.files.foreign import ForeignDataError, read_json
from highnoon.files.name_path import name_path
from highnoon.files.sync_to_disk import sync_to_disk
from highnoon.files.whole_folder import recover_folders

LATEST, BEST, FINAL, INTERRUPTED = ROLES = ("latest", "best", "final", "interrupted")
CHECKPOINTS_FOLDER = "checkpoints"
"""Name of the directory of checkpoints in the folder of a run."""
STEP_FOLDER = re.compile(r"step_[0-9]{8,18}")
_GUIDE_NAME = re.compile(r"hatching_(?:step_([0-9]{1,18})|best|final)(?:\.pt)?")
"""What training guides call checkpoints: `hatching_step_1000.pt`, `hatching_best.pt`, `hatching_final.pt`."""
_VIEW = re.compile(r"(.+?)(?:_epoch([0-9]{1,9})|_(interrupted))?(?:\.pt)?", re.DOTALL)
"""What training guides call the checkpoints of a run: `RUN_epochN.pt`, `RUN_interrupted.pt`, `RUN.pt`."""
_STATE = "state.json"
_POINTER_BYTES = 256
_MAKE_ROOM = "free disk space or choose another folder"


class CheckpointError(ValueError):
    """A checkpoint that cannot be written, found or read."""


class DamagedPointerError(CheckpointError):
    """A file of a role whose content names no checkpoint."""


def step_folder_name(step: int) -> str:
    return f"step_{step:08d}"


def step_of(folder: pathlib.Path) -> int:
    return int(folder.name.removeprefix("step_"))


def step_folders(directory: pathlib.Path) -> list[pathlib.Path]:
    """Returns the checkpoint folders in a directory, oldest step first."""
    if not directory.is_dir():
        return []
    # One whose replacement was cut short has its name only once it is recovered.
    recover_folders(directory, STEP_FOLDER)
    found = [path for path in directory.iterdir() if STEP_FOLDER.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=step_of)


def in_checkpoints(path: pathlib.Path) -> pathlib.Path:
    """Returns the path of a directory of checkpoints, or of a role in one, where `path` names a run.

    `my-run` becomes `my-run/checkpoints`, and `my-run/best` becomes `my-run/checkpoints/best`. The names
    `hatching_step_1000`, `hatching_best` and `hatching_final`, with or without `.pt`, are the step's folder
    and the roles, unless there is a file or folder of this name. Next to the folder of a run, `my-run_epoch5`
    is the checkpoint of the end of its fifth epoch, `my-run_interrupted` the one with this role, and
    `my-run.pt` the run, the first two also with `.pt`. Any other path is returned as it is.

    Example:

    ```python
    import pathlib

    from highnoon.files.step_folders import in_checkpoints

    pathlib.Path("my-run/checkpoints/step_00000010").mkdir(parents=True)
    assert in_checkpoints(pathlib.Path("my-run")) == pathlib.Path("my-run/checkpoints")
    assert in_checkpoints(pathlib.Path("my-run/best")) == pathlib.Path("my-run/checkpoints/best")
    step = in_checkpoints(pathlib.Path("my-run/hatching_step_10.pt"))
    assert step == pathlib.Path("my-run/checkpoints/step_00000010")
    ```
    """
    match = _GUIDE_NAME.fullmatch(path.name)
    if match is not None and not path.exists():
        name = path.name.removeprefix("hatching_").removesuffix(".pt")
        name = name if match[1] is None else step_folder_name(int(match[1]))
        return in_checkpoints(path.parent) / name
    if path.name in ROLES and not path.exists():
        directory = in_checkpoints(path.parent)
        return directory / path.name if step_folders(directory) else path
    inside = path / CHECKPOINTS_FOLDER
    if not step_folders(path) and step_folders(inside):
        return inside
    return _of_view(path) or path


def _of_view(path: pathlib.Path) -> pathlib.Path | None:
    """Returns what a name of a training guide means next to the folder of a run; None for any other path."""
    match = _VIEW.fullmatch(path.name)
    if match is None or match[1] == path.name or os.path.lexists(path):
        return None
    directory = path.parent / match[1] / CHECKPOINTS_FOLDER
    folders = step_folders(directory)
    if not folders:
        return None
    if match[3] is not None:
        return directory / match[3]
    if match[2] is None:
        return directory
    found = (folder for folder in reversed(folders) if epochs_of(folder) == int(match[2]))
    return next(found, directory / f"epoch{match[2]}")


def epochs_of(folder: pathlib.Path) -> int | None:
    """Returns how many epochs a run had completed when it wrote a checkpoint.

    None within an epoch, before the first, and where the state cannot be read.

    Args:
        folder: The checkpoint.
    """
    try:
        progress: Any = read_json(folder / _STATE)["run"]["progress"]
        if progress["num_allowed"]:
            return None
        earlier = sum(int(stage["epochs"]) for stage in progress["stages_completed"])
        return earlier + int(progress["epoch"]) or None
    except (OSError, ForeignDataError, KeyError, TypeError, ValueError, OverflowError):
        return None


def checkpoint_in(path: str | os.PathLike[str], directory: pathlib.Path) -> str | os.PathLike[str]:
    """Returns a checkpoint's path, looked for in a directory of checkpoints where it is a bare name.

    A name such as `best` or `hatching_step_1000.pt` that leads nowhere from the current folder is one of the
    directory; any other path is returned as it is.

    Args:
        path: As the user gave it.
        directory: Of the run's checkpoints.
    """
    given = pathlib.Path(path)
    is_name = given.name in ROLES or _GUIDE_NAME.fullmatch(given.name) or STEP_FOLDER.fullmatch(given.name)
    if given.parent != pathlib.Path() or not is_name or in_checkpoints(given).exists():
        return path
    inside = in_checkpoints(directory / given)
    # One that is missing is one of the directory's too: its steps are then named.
    return inside if inside.exists() or step_folders(inside.parent) else path


def point_at(folder: pathlib.Path, role: str = LATEST) -> None:
    """Makes the file of a role, next to `folder`, name it, in one replacement.

    The second line is a hash of the first.
    """
    temporary = folder.with_name(f".{role}.{os.getpid()}.tmp")
    pointer = folder.with_name(role)
    with name_path(pointer, advice=_MAKE_ROOM):
        temporary.write_text(f"{folder.name}\n{_name_hash(folder.name)}\n", encoding="utf-8")
        sync_to_disk(temporary)
        os.replace(temporary, pointer)


def folder_of(directory: pathlib.Path, role: str) -> pathlib.Path | None:
    """Returns the folder that has a role, or None where none has.

    Raises:
        DamagedPointerError: the file of the role names no folder of a step.
    """
    pointer = directory / role
    if not pointer.is_file():
        return None
    with pointer.open("rb") as stream:
        lines = stream.read(_POINTER_BYTES).split(b"\n")
    name = lines[0].decode("ascii", "replace").strip()
    if not STEP_FOLDER.fullmatch(name):
        raise DamagedPointerError(f"`{role}` in {directory} is damaged: it names no step_* folder")
    # Files of older versions have one line.
    if any(lines[1:]) and lines[1:] != [_name_hash(name).encode(), b""]:
        raise DamagedPointerError(f"`{role}` in {directory} is damaged: its name does not have its hash")
    return directory / name


def roles_of(folder: pathlib.Path) -> list[str]:
    """Returns the roles of a checkpoint folder; damaged files of roles count for none."""
    found = []
    for role in ROLES:
        with contextlib.suppress(DamagedPointerError):
            if folder_of(folder.parent, role) == folder:
                found.append(role)
    return found


def _name_hash(name: str) -> str:
    return hashlib.blake2b(name.encode(), digest_size=8).hexdigest()
