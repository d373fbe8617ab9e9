"""What a run does about steps that had to be skipped."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

from highnoon.training.runs.run_state import RunState
from highnoon.training.runs.saving import Saving
from highnoon.training.runs.skipped_steps import SkippedSteps, TakenStep


class Faults:
    """Reports skipped steps; answers too many in a row as the configuration says.

    Args:
        state: The run.
        saving: Knows the checkpoint to go back to.
    """

    def __init__(self, state: RunState, saving: Saving) -> None:
        self._state, self._saving = state, saving
        self._skipped = SkippedSteps(state.settings.skipped_folder, state.settings.running)

    def add(self, taken: Sequence[TakenStep]) -> None:
        """Notes the steps of a call."""
        self._skipped.add(taken)

    def examine(self, *, includes_last: bool) -> bool:
        """Reports the skipped steps of the calls that were not examined yet.

        Args:
            includes_last: Whether to wait for the last call.

        Returns:
            Whether the run went back to a checkpoint.

        Raises:
            FloatingPointError: too many steps in a row were skipped, and no answer is left.
        """
        most, callbacks = self._state.settings.config.max_skipped_steps, self._state.callbacks
        skipped = self._skipped.examine(includes_last)
        if any(step.in_a_row >= most for step in skipped):
            # The answer counts from behind everything that was taken so far.
            skipped += self._skipped.examine(includes_last=True)
        for error in self._skipped.take_errors():
            callbacks.report(error)
        for step in skipped:
            fields = dataclasses.asdict(step) | {"path": step.path and str(step.path)}
            callbacks.event("step_skipped", **fields)
        for step in skipped:
            if step.in_a_row >= most:
                return self.answer(
                    f"{step.in_a_row} steps in a row up to step {step.step} were skipped: the loss is "
                    f"{step.loss:g} and the gradient's norm {step.grad_norm:g}",
                    step.path and step.path.parent,
                )
        return False

    def answer(self, reason: str, written_in: pathlib.Path | None = None) -> bool:
        """Answers a fault by the next of the configured answers; returns whether the run went back.

        A lower learning rate does not repair weights that are not finite: then only going back does.

        Args:
            reason: What happened.
            written_in: Where the batches of the skipped steps are.

        Raises:
            FloatingPointError: no answer is left, or there is nothing to go back to.
        """
        progress, learner = self._state.progress, self._state.learner
        answers = self._state.settings.config.on_repeated_faults
        is_broken = learner.find_non_finite() is not None
        left = [
            (index, answer)
            for index, answer in enumerate(answers)
            if index >= progress.num_fault_answers and (answer == "go_back" or not is_broken)
        ]
        index, answer = left[0] if left else (len(answers), "stop")
        target = self._saving.folder_to_go_back_to() if answer == "go_back" else None
        if answer == "stop" or (answer == "go_back" and target is None):
            kept = f"; the batches are in {written_in}" if written_in else ""
            raise FloatingPointError(
                f"{reason}{kept}. Lower `learning_rate`, keep `gradient_clip`, and look at the batches; "
                f"{self._saving.say_sound()}"
            )
        if target is not None:
            self._go_back_to(target)
        else:
            learner.optimizer.cut_learning_rate(0.5)
        progress.num_fault_answers = index + 1
        learner.state.reset_fault_counters()
        self._skipped.forget()
        factor = float(learner.optimizer.learning_rate_factor)
        self._state.callbacks.event(
            "fault_answered", answer=answer, reason=reason, step=progress.step, learning_rate_factor=factor
        )
        return target is not None

    def _go_back_to(self, folder: pathlib.Path) -> None:
        """Takes weights, slots and the count of steps from a checkpoint, but continues with the data after
        the batch that was read last."""
        state, progress = self._state, self._state.progress
        progress.go_back_to(self._saving.checkpoints.go_back(folder))
        # The checkpoint may be of an earlier stage, which trained other weights.
        state.learner.select_trainable(state.plan.stages[progress.stage].trainable)
        progress.note_span()
        state.note_totals()
        state.task_losses.forget()
        self._saving.is_best = self._saving.is_due = False
        self._saving.align_best_role()
