"""Finds the checkpoints to which a run can go back."""

from __future__ import annotations

import os
import pathlib

from highnoon.models.arrays import load_arrays
from highnoon.models.saving import WEIGHTS_FILE
from highnoon.training.checkpoints import checkpoint
from highnoon.training.steps.finite_weights import find_non_finite_array


def find_sound_checkpoint(directory: str | os.PathLike[str], run_id: str) -> pathlib.Path | None:
    """Returns the newest checkpoint of a run from which training can sensibly continue, or None.

    It is complete, its weights are finite, and the step before it was not skipped: a checkpoint from within a
    series of skipped steps holds the weights that led into it.

    Args:
        directory: Where the `step_*` folders are.
        run_id: The run that must have written it.
    """
    for folder in reversed(checkpoint.step_folders(pathlib.Path(directory))):
        if checkpoint.damage(folder) is not None:
            continue
        state = checkpoint.read_state(folder)
        progress = (state.get("run") or {}).get("progress") or {}
        if state.get("run_id") != run_id or progress.get("is_last_skipped"):
            continue
        if find_non_finite_array(load_arrays(folder / WEIGHTS_FILE)) is None:
            return folder
    return None
