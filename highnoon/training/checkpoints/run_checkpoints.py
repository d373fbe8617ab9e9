"""The checkpoints of one run: written between steps, found again, restored."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from highnoon.training.checkpoints import checkpoint, snapshot
from highnoon.training.checkpoints.checkpoint_writer import CheckpointWriter
from highnoon.training.checkpoints.saved_run import SavedRun
from highnoon.training.checkpoints.sound_checkpoints import find_sound_checkpoint
from highnoon.training.learner import Learner
from highnoon.training.plans.stages import CurriculumStage
from highnoon.training.runs.best_weights import BestWeights
from highnoon.training.runs.progress import Progress


@dataclasses.dataclass(frozen=True)
class RunIdentity:
    """What every checkpoint of a run says of it.

    Args:
        stages: Of the run.
        values: Configuration, plan, stages and the run's id, as JSON values.
        tokenizer: Of the run.
    """

    stages: Sequence[CurriculumStage]
    values: Mapping[str, Any]
    tokenizer: Any

    @property
    def run_id(self) -> str:
        return str(self.values["run_id"])


class Checkpoints:
    """Writes the checkpoints of a run and restores them.

    Args:
        learner: What is copied and restored.
        identity: What they say of the run.
        directory: Where the `step_*` folders go.
        writer: Writes them; None writes none.
        best: Restores the weights of the lowest held-out loss; None leaves the model those of the last step.
        end: The checkpoint of this run's end, whose weights a callback had set when the run ended before.
    """

    def __init__(
        self,
        learner: Learner,
        identity: RunIdentity,
        directory: pathlib.Path,
        writer: CheckpointWriter | None = None,
        best: BestWeights | None = None,
        end: pathlib.Path | None = None,
    ) -> None:
        self.learner, self.identity, self.directory = learner, identity, directory
        self.best, self.end = best, end
        self._writer = writer

    @property
    def are_kept(self) -> bool:
        """Whether the run keeps checkpoints, written by this process or by another."""
        return self._writer is not None

    @property
    def are_written_here(self) -> bool:
        """Whether this process writes them."""
        return self._writer is not None and self.learner.replicas.is_chief

    def folder(self, step: int) -> pathlib.Path:
        """Returns the folder of a step's checkpoint."""
        return self.directory / checkpoint.step_folder_name(step)

    def start(
        self,
        step: int,
        run: Mapping[str, Any],
        trained_weights: Mapping[str, np.ndarray],
        roles: tuple[str, ...] = (),
        *,
        prunes: bool = True,
    ) -> list[pathlib.Path]:
        """Copies the state and begins to write it; returns the checkpoints that are complete since.

        Args:
            step: Optimizer steps taken.
            run: Progress, schedulers and callbacks, as JSON values.
            trained_weights: The weights that training continues with, if the model's are others.
            roles: Roles that the checkpoint gets besides `latest`.
            prunes: Whether older checkpoints are deleted for it.

        Raises:
            CheckpointError: the one before could not be written.
        """
        if self._writer is None:
            return []
        write = self.learner.capture(
            self.identity.tokenizer, {**self.identity.values, "run": run}, trained_weights
        )
        return self._writer.start(step, write, roles, prunes)

    def finished(self) -> list[pathlib.Path]:
        """Returns the checkpoint that is complete since the last call, without waiting.

        Raises:
            CheckpointError: it could not be written.
        """
        return [] if self._writer is None else self._writer.finished()

    def wait(self) -> list[pathlib.Path]:
        """Waits for the checkpoint that is being written and returns it.

        Raises:
            CheckpointError: it could not be written.
        """
        return [] if self._writer is None else self._writer.wait()

    def close(self) -> None:
        """Ends the writer's thread."""
        if self._writer is not None:
            self._writer.close()

    def give_role(self, step: int, role: str) -> None:
        """Gives a step's checkpoint a role."""
        checkpoint.point_at(self.folder(step), role)

    def drop_role(self, role: str) -> None:
        """Lets no checkpoint have a role."""
        (self.directory / role).unlink(missing_ok=True)

    def find_sound(self) -> pathlib.Path | None:
        """Returns the newest checkpoint that is finite and from before a series of skipped steps, or None."""
        return find_sound_checkpoint(self.directory, self.identity.run_id)

    def go_back(self, folder: pathlib.Path) -> Progress:
        """Restores a checkpoint of this run and returns its progress.

        Raises:
            CheckpointError: it is damaged.
        """
        return SavedRun.read(folder).restore(self.learner, self.identity.stages)

    def restore_end(self) -> None:
        """Gives the model the weights that a callback had set when the run ended before."""
        if self.end is not None:
            snapshot.restore_model(self.learner.model, self.end)
