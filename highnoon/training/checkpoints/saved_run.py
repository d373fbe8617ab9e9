"""What a checkpoint says of the run that wrote it."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from highnoon.files.shown import shown
from highnoon.training.checkpoints import checkpoint
from highnoon.training.plans.stages import CurriculumStage
from highnoon.training.runs.progress import Progress

if TYPE_CHECKING:
    from highnoon.training.learner import Learner


@dataclasses.dataclass(frozen=True)
class SavedRun:
    """A checkpoint that a trainer can resume from.

    Args:
        folder: The checkpoint.
        state: Its `state.json`.
    """

    folder: pathlib.Path
    state: dict[str, Any]

    @classmethod
    def find(cls, path: str | os.PathLike[str]) -> SavedRun:
        """Returns the checkpoint that a path means, see `find_checkpoint`.

        Raises:
            CheckpointError: there is none, or none that is undamaged.
        """
        return cls.read(checkpoint.find_checkpoint(path))

    @classmethod
    def read(cls, folder: pathlib.Path) -> SavedRun:
        """Returns the checkpoint in a folder.

        Raises:
            CheckpointError: its state cannot be read.
        """
        return cls(folder, checkpoint.read_state(folder))

    @property
    def has_begun(self) -> bool:
        """Whether steps were taken, or a trainer was saved before its first one."""
        return self.state["run"] is not None

    @property
    def callbacks(self) -> Sequence[dict[str, Any]]:
        """What the run's callbacks remember."""
        return self.state["run"]["callbacks"] if self.has_begun else ()

    def keep_reports(self, stages: Sequence[CurriculumStage]) -> None:
        """Lets stages report the losses of tasks only where they did when the run was saved.

        Runs of older versions report none, and their steps remain as they were.
        """
        reports = {stage["name"]: "tasks" in stage for stage in self.state["stages"]}
        for stage in stages:
            if not reports.get(stage.name, True):
                stage.tasks = None

    def restore(self, learner: Learner, stages: Sequence[CurriculumStage]) -> Progress:
        """Gives a learner and the stages' schedulers what was saved, and returns where the run is.

        Raises:
            CheckpointError: the checkpoint belongs to another model, or is damaged.
        """
        learner.restore(self.folder)
        # Stages that were added since have no state yet.
        for stage, state in zip(stages, self.state["run"]["schedulers"], strict=False):
            if state is not None and stage.scheduler is not None:
                self._restore_scheduler(stage, state)
        progress = Progress(**self.state["run"]["progress"])
        if progress.lowest_val_loss is not None and progress.lowest_val_step is None:
            self._find_lowest_step(progress)
        return progress

    def _restore_scheduler(self, stage: CurriculumStage, state: Any) -> None:
        try:
            stage.scheduler.load_state_dict(state)
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
            raise checkpoint.CheckpointError(
                f"{self.folder} is damaged: the state of the scheduler of stage `{stage.name}` cannot be "
                f"read ({shown(str(error))}); choose another checkpoint"
            ) from error

    def _find_lowest_step(self, progress: Progress) -> None:
        """Completes a checkpoint of an older version, which did not note the best step: its role tells it."""
        try:
            best = checkpoint.folder_of(self.folder.parent, checkpoint.BEST)
        except checkpoint.DamagedPointerError as error:
            warnings.warn(f"the best step so far is not known: {error}", stacklevel=2)
            best = None
        step = progress.step + 1 if best is None else int(best.name.removeprefix("step_"))
        if step <= progress.step:
            progress.lowest_val_step = step
        else:
            progress.lowest_val_loss = None
