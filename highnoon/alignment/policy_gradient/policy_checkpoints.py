"""Checkpoints of a policy that learns from rewards: folders that are complete or absent."""

from __future__ import annotations

import pathlib
import warnings
from collections.abc import Mapping
from typing import Any

from highnoon.files.folder_manifest import DamagedFolderError, file_damage, read_manifest
from highnoon.files.foreign import read_json
from highnoon.files.shown import shown
from highnoon.files.step_folders import CheckpointError, point_at, step_folder_name, step_folders
from highnoon.training.checkpoints.checkpoint import LATEST, STATE, prune, write_folder
from highnoon.training.learner import Learner

_OWN = "policy_training"


class PolicyCheckpoints:
    """Checkpoints in a directory, one after an iteration, named by the steps that were taken.

    `step_00009728/` has the model, the optimizer's arrays, and `state.json` with the position of the loop; a
    manifest has size and hash of each. It is written under another name and renamed, so that a kill leaves it
    complete or absent.

    Args:
        directory: Created when the first checkpoint is written.
        keep: How many are kept, at least 1.
    """

    def __init__(self, directory: pathlib.Path, keep: int = 2) -> None:
        self.directory, self.keep = directory, keep

    def save(
        self,
        learner: Learner,
        num_steps: int,
        state: Mapping[str, Any],
        role: str = LATEST,
        tokenizer: Any = None,
    ) -> None:
        """Writes a checkpoint, names it, and removes older ones.

        Args:
            learner: Its model, optimizer and counters are saved.
            num_steps: Steps of the environments, or completions, so far.
            state: What else the loop needs, as JSON values.
            role: What names the folder too, besides `latest`.
            tokenizer: Written next to a model that has none of its own; None for none.
        """
        folder = self.directory / step_folder_name(num_steps)
        self.directory.mkdir(parents=True, exist_ok=True)
        write_folder(folder, learner.capture(tokenizer, {_OWN: dict(state)}))
        for name in {LATEST, role}:
            point_at(folder, name)
        prune(self.directory, self.keep)

    def has_any(self) -> bool:
        """Whether the directory has a checkpoint, damaged or not."""
        return bool(step_folders(self.directory))

    def is_resumed(self, resume: bool) -> bool:
        """Whether a run continues from these checkpoints: where there are any.

        Raises:
            CheckpointError: there are, and `resume` is False.
        """
        if self.has_any() and not resume:
            raise CheckpointError(
                f"{self.directory.parent} has the checkpoints of a run; continue it with resume=True, or "
                "choose another output_dir"
            )
        return self.has_any()

    def newest(self) -> pathlib.Path:
        """Returns the newest folder whose files are as they were written.

        Damaged ones are skipped with a warning.

        Raises:
            CheckpointError: there is none.
        """
        reasons: list[str] = []
        for folder in reversed(step_folders(self.directory)):
            reason = _damage(folder)
            if reason is None:
                if reasons:
                    warnings.warn(f"resuming from {folder}: {'; '.join(reasons)}", stacklevel=3)
                return folder
            reasons.append(f"{folder.name} is damaged: {reason}")
        raise CheckpointError(
            f"no checkpoint in {self.directory} ({'; '.join(reasons) or 'it holds no step_* folder'}); begin "
            "a new run with resume=False"
        )

    def read(self, folder: pathlib.Path, description: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the state that `save` was given.

        Args:
            folder: A checkpoint.
            description: What the state's `description` must be: the arguments of the run.

        Raises:
            CheckpointError: the folder is a checkpoint of something else, or of a run with other arguments.
        """
        state = read_json(folder / STATE).get(_OWN)
        if not isinstance(state, dict):
            raise CheckpointError(
                f"{folder} is no checkpoint of a policy; give the output_dir of its trainer"
            )
        saved = state["description"]
        for name, value in description.items():
            if saved.get(name) != value:
                raise CheckpointError(
                    f"{folder} belongs to a run with {name}={shown(saved.get(name))}; received "
                    f"{shown(value)}; resume with the arguments that it began with"
                )
        return state


def _damage(folder: pathlib.Path) -> str | None:
    try:
        entries = read_manifest(folder)
    except DamagedFolderError as error:
        return str(error)
    return file_damage(folder, entries) if STATE in entries else f"it has no {STATE}"
