"""The weights of a run's lowest held-out loss."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np

from highnoon.models.arrays import load_arrays, variable_arrays, variable_names
from highnoon.models.saving import WEIGHTS_FILE, saved_weights
from highnoon.training.checkpoints import checkpoint
from highnoon.training.checkpoints.snapshot import OPTIMIZER_FILE, TRAINED, under
from highnoon.training.learner import Learner


class BestWeights:
    """Gives a model the weights that were evaluated at a step: its moving average where the run keeps one.

    Args:
        learner: Holds the model and its averages.
        directories: Where the step's checkpoint may be; empty keeps a copy in memory instead.
        run_id: The run that must have written it.
    """

    def __init__(
        self,
        learner: Learner,
        directories: Sequence[pathlib.Path],
        run_id: str,
    ) -> None:
        self._learner, self._model = learner, learner.model
        self._directories, self._run_id = list(directories), run_id
        self._in_memory: dict[str, np.ndarray] = {}

    def keep(self, step: int) -> None:
        """Copies the weights of the current step, where no checkpoint will hold them."""
        if not self._directories:
            with self._learner.averaged():
                self._in_memory = variable_arrays(saved_weights(self._model))

    def load(self, folder: pathlib.Path) -> None:
        """Copies the weights of a step's checkpoint, where no checkpoint will hold them later."""
        self._in_memory = self._read(folder)

    def restore(self, step: int) -> None:
        """Gives the model the weights of a step.

        Raises:
            CheckpointError: its checkpoint is gone, damaged or of another run.
        """
        arrays = self._read(self.require(step)) if self._directories else self._in_memory
        weights = saved_weights(self._model)
        named = dict(zip(variable_names(weights), weights, strict=True))
        for name, variable in named.items():
            variable.assign(arrays[name])

    def require(self, step: int) -> pathlib.Path:
        """Returns the folder of a step's checkpoint.

        Raises:
            CheckpointError: it is gone, damaged or of another run.
        """
        reasons = []
        for directory in self._directories:
            folder = directory / checkpoint.step_folder_name(step)
            reason = checkpoint.damage(folder)
            if reason is None and checkpoint.read_state(folder)["run_id"] != self._run_id:
                reason = "it belongs to another run"
            if reason is None:
                return folder
            reasons.append(f"{folder}: {reason}")
        raise checkpoint.CheckpointError(
            f"`restore_best` needs the checkpoint of the best step, {step}, which cannot be used "
            f"({'; '.join(reasons)}); put it back, or train without `restore_best` (--restore-best)"
        )

    def _read(self, folder: pathlib.Path) -> dict[str, np.ndarray]:
        others = load_arrays(folder / OPTIMIZER_FILE)
        arrays = load_arrays(folder / WEIGHTS_FILE) | under(TRAINED, others)
        trained = checkpoint.read_learner_state(folder)["trainable"]
        for weight, average in self._learner.average_names(trained).items():
            arrays[weight] = others[average]
        return arrays
