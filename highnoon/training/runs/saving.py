"""When a run saves, and which checkpoint gets which role."""

from __future__ import annotations

import pathlib
import shlex
import time
from collections.abc import Sequence

from highnoon.training.checkpoints import checkpoint
from highnoon.training.checkpoints.run_checkpoints import Checkpoints
from highnoon.training.runs.run_state import RunState


class Saving:
    """Saves a run, reports what is complete, and says where it is saved.

    Args:
        state: The run.
        checkpoints: Where its checkpoints are.

    Attributes:
        is_due: Whether a checkpoint is due.
        is_best: Whether the next one is of the lowest held-out loss so far.
    """

    def __init__(self, state: RunState, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints
        self.is_due = self.is_best = False
        self._state = state
        self._saved_at: tuple[int, ...] = ()

    def is_to_save(self) -> bool:
        """Whether to save now, once everything else that belongs to the step was done.

        In a series of skipped steps a checkpoint remains due until the next good one: it would displace
        others, and the run could not go back to it. Only a new best is saved there.
        """
        return self.is_due and (self.is_best or not self._state.is_last_step_skipped())

    def save(self) -> None:
        """Copies the state and begins to write it."""
        state = self._state
        self._saved_at, self.is_due = self._position(), False
        state.progress.is_last_skipped = state.is_last_step_skipped()
        roles = (checkpoint.BEST,) if self.is_best else ()
        self.is_best = False
        if not self.checkpoints.are_written_here:
            return
        began = time.perf_counter()
        state.callbacks.flush()
        finished = self.checkpoints.start(
            state.progress.step,
            state.to_dict(),
            state.trained_weights(),
            roles,
            prunes=not state.progress.is_last_skipped,
        )
        self._report(finished)
        state.pause(time.perf_counter() - began)

    def is_saved(self) -> bool:
        """Whether the last checkpoint is of this position of the run."""
        return self._saved_at == self._position()

    def report_finished(self) -> None:
        """Reports a checkpoint that is complete by now, without waiting."""
        self._report(self.checkpoints.finished())

    def wait(self) -> None:
        """Waits for the checkpoint that is being written, and reports it."""
        self._report(self.checkpoints.wait())

    def finish(self, role: str) -> None:
        """Waits until the last checkpoint is complete and gives it a role."""
        if not self.checkpoints.are_written_here:
            return
        self.wait()
        self.checkpoints.give_role(self._state.progress.step, role)
        if role == checkpoint.FINAL:
            self.checkpoints.drop_role(checkpoint.INTERRUPTED)

    def align_best_role(self) -> None:
        """Lets `best` name the checkpoint that the progress says is the best, which protects it from pruning.

        A run that is killed right after it wrote that checkpoint has not named it yet.
        """
        if not self.checkpoints.are_written_here:
            return
        step = self._state.progress.lowest_val_step
        if step is None:
            self.checkpoints.drop_role(checkpoint.BEST)
        elif self.checkpoints.folder(step).is_dir():
            self.checkpoints.give_role(step, checkpoint.BEST)

    def folder_to_go_back_to(self) -> pathlib.Path | None:
        """Returns the newest sound checkpoint, once all are written on every worker; None without one."""
        if not self.checkpoints.are_kept:
            return None
        self.wait()
        self._state.learner.replicas.wait_for_all()
        return self.checkpoints.find_sound()

    def say_sound(self) -> str:
        """Says which checkpoint is sound, once all are written."""
        if not self.checkpoints.are_kept:
            return "the run keeps no checkpoints"
        self.wait()
        folder = self.checkpoints.find_sound()
        if folder is None:
            return "there is no checkpoint with finite weights from before it"
        return (
            f"the newest sound checkpoint is {folder}, resume with train(resume_from={str(folder)!r}), "
            f"on the command line --resume {shlex.quote(str(folder))}"
        )

    def save_interrupted(self) -> str:
        """Saves the run where it is, as `interrupted`, and says where."""
        if not self.checkpoints.are_kept:
            return "nothing was saved, since the run keeps no checkpoints"
        if name := self._state.learner.find_non_finite():
            return f"nothing was saved, since the weights are not finite (`{name}`); {self.say_sound()}"
        if not self.is_saved():
            self.save()
        self.finish(checkpoint.INTERRUPTED)
        folder = self.checkpoints.folder(self._state.progress.step)
        return f"the run is saved in {folder}; continue with train(resume_from={str(folder)!r})"

    def best_folder(self) -> str | None:
        """Returns the folder of the best step's checkpoint; None without checkpoints."""
        step = self._state.progress.lowest_val_step
        return str(self.checkpoints.folder(step)) if self.checkpoints.are_kept and step is not None else None

    def _position(self) -> tuple[int, ...]:
        """What tells one checkpoint of a step from another: before and after the end of an epoch or stage."""
        progress = self._state.progress
        return progress.step, progress.stage, progress.epoch

    def _report(self, folders: Sequence[pathlib.Path]) -> None:
        for folder in folders:
            step = int(folder.name.removeprefix("step_"))
            self._state.callbacks.event("checkpoint_saved", path=str(folder), step=step)
