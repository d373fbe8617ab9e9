"""Finds the model that a path means: a model folder, a run, a checkpoint, or one by its role."""

from __future__ import annotations

import os
import pathlib

from highnoon.config import require_path
from highnoon.files.folder_content import folder_content
from highnoon.files.folder_manifest import DamagedFolderError, has_manifest, read_manifest
from highnoon.files.step_folders import (
    BEST,
    ROLES,
    DamagedPointerError,
    folder_of,
    in_checkpoints,
    step_folders,
)
from highnoon.files.whole_folder import recover_folder
from highnoon.models.adapters.adapter_file import is_adapter_folder
from highnoon.models.saving import CONFIG_FILE, KERAS_SUFFIX, TRAINING_FILES, WEIGHTS_FILE, ModelFolderError

_MODEL_FOLDER = "model"
_RECIPE_FILE = "recipe.yaml"
_TOKENS_FILE = "tokens.bin"
_TEXTS = (".txt", ".jsonl", ".json", ".csv", ".tsv", ".parquet", ".md", ".gz", ".zst")
_LOOKED_AT = 200
_MOST_STEPS = 5


def find_model(path: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the folder, or the `.keras` file, of the model that a path means.

    | path | model |
    | --- | --- |
    | a model folder, a checkpoint, a folder of Hugging Face, an adapter, a `.keras` file | itself |
    | the folder of a run | its `model`; before the run has ended, as for its checkpoints |
    | a directory of checkpoints | the `best`; where there is none, the highest step |
    | either of these with a role, such as `my-run/latest` | the checkpoint that has the role |
    | either of these with `hatching_step_N`, `hatching_best`, `hatching_final` | the step's, or the role's |

    The roles are `latest`, `best`, `final` and `interrupted`. A leading `~` is the home folder.

    Args:
        path: The path.

    Raises:
        ModelFolderError: there is no model. The error lists what is there, and a command to try next.

    Example:

    ```python
    import highnoon as hn
    from highnoon.models import find_model

    hn.save_model(hn.create_model("highnoon-nano", num_reasoning_blocks=1), "my-run/model")
    assert find_model("my-run") == find_model("my-run/model")
    ```
    """
    given = pathlib.Path(require_path("path", path, ModelFolderError))
    recover_folder(given)
    if given.suffix == KERAS_SUFFIX and given.is_file():
        return given
    if any((given / name).is_file() for name in (CONFIG_FILE, WEIGHTS_FILE)) or is_adapter_folder(given):
        return given
    inside = in_checkpoints(given)
    if inside.name in ROLES and step_folders(inside.parent):
        return _with_role(inside.parent, inside.name)
    if inside != given and (steps := step_folders(inside.parent)):
        if inside not in steps:
            raise ModelFolderError(
                f"no model at {given}: there is no {inside.name}; the steps are "
                f"{', '.join(folder.name for folder in steps[-_MOST_STEPS:])}"
            )
        return inside
    recover_folder(given / _MODEL_FOLDER)
    if _is_complete(given / _MODEL_FOLDER):
        return given / _MODEL_FOLDER
    if folders := step_folders(inside):
        return _with_role(inside, BEST) if (inside / BEST).is_file() else folders[-1]
    content = folder_content(given)
    raise ModelFolderError(
        f"no model at {given}: {content}" + ("" if content.endswith("?") else f"; {_advice(given)}")
    )


def _with_role(directory: pathlib.Path, role: str) -> pathlib.Path:
    try:
        folder = folder_of(directory, role)
    except DamagedPointerError as error:
        raise ModelFolderError(f"{error}; give a step_* folder of {directory}") from None
    if folder is not None:
        recover_folder(folder)
    if folder is None or not folder.is_dir():
        reason = "no checkpoint has this role" if folder is None else f"{folder.name} is not there"
        there = [name for name in ROLES if (directory / name).is_file() and name != role]
        roles = f"roles that it has: {', '.join(there) or 'none'}"
        raise ModelFolderError(
            f"no model at {directory / role}: {reason}; {roles}; its newest checkpoint is "
            f"{step_folders(directory)[-1].name}"
        )
    return folder


def _is_complete(folder: pathlib.Path) -> bool:
    """Whether a folder has a description and every file of its manifest; `load_model` compares the bytes."""
    if not (folder / CONFIG_FILE).is_file():
        return False
    if not has_manifest(folder):
        return True
    try:
        entries = read_manifest(folder)
    except DamagedFolderError:
        return False
    return all((folder / name).is_file() for name in entries if name not in TRAINING_FILES)


def _advice(given: pathlib.Path) -> str:
    """Returns what to do next, by what is at the path."""
    if given.is_file():
        if (given.parent / CONFIG_FILE).is_file():
            return f"give its folder, {given.parent}"
        if given.suffix in _TEXTS:
            return f"to train a model on it: highnoon train --data {given}"
    if given.is_dir():
        if runs := _runs_in(given):
            return f"give one of the runs in it, such as {runs[0]}"
        if (given / _RECIPE_FILE).is_file():
            return f"its run has saved no model yet; to train it: highnoon train {given} --resume"
        if (given / _TOKENS_FILE).is_file():
            return f"to train a model on this prepared data: highnoon train --data {given}"
        if any(entry.suffix in _TEXTS for entry in _entries(given)):
            return f"to train a model on its texts: highnoon train --data {given}"
    return (
        "expected a folder written by save_model or by Hugging Face, the folder of a run, or its "
        "checkpoints; to train a model: highnoon train --data PATH"
    )


def _runs_in(folder: pathlib.Path) -> list[pathlib.Path]:
    """Folders in a folder that are models or runs, the one that was changed last first."""
    found = [
        entry
        for entry in _entries(folder)
        if entry.is_dir()
        and any((found / CONFIG_FILE).is_file() for found in (entry, entry / _MODEL_FOLDER))
        or step_folders(in_checkpoints(entry))
    ]
    return sorted(found, key=lambda entry: entry.stat().st_mtime, reverse=True)


def _entries(folder: pathlib.Path) -> list[pathlib.Path]:
    with os.scandir(folder) as entries:
        return [pathlib.Path(entry.path) for entry, _ in zip(entries, range(_LOOKED_AT), strict=False)]
