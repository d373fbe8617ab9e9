"""The end of a run: which weights the model has, and the summary."""

from __future__ import annotations

from typing import Any

from highnoon.callbacks.callback_group import CallbackFailed
from highnoon.training.checkpoints import checkpoint
from highnoon.training.runs.history import copy_of
from highnoon.training.runs.run_state import RunState
from highnoon.training.runs.saving import Saving
from highnoon.training.runs.trained_weights import TrainedWeights
from highnoon.training.steps.step import computes_in_float16


class Ending:
    """Ends a run.

    Args:
        state: The run.
        saving: Saves its end.
    """

    def __init__(self, state: RunState, saving: Saving) -> None:
        self._state, self._saving = state, saving

    def finish(self) -> dict[str, Any]:
        """Chooses the model's weights, saves them as `final`, and returns the summary.

        Raises:
            FloatingPointError: nothing was trained, or the weights are not finite.
        """
        state, saving = self._state, self._saving
        self._require_trained()
        weights = state.progress.ended_with = self._choose_weights()
        if not saving.is_saved() or state.trained_weights():
            saving.save()
        saving.finish(checkpoint.FINAL)
        progress = state.progress
        summary = {
            "total_steps": progress.step,
            "stages_completed": list(progress.stages_completed),
            "weights": weights,
            "best_step": progress.lowest_val_step,
            "best_val_loss": progress.lowest_val_loss,
            "best_bits_per_byte": progress.lowest_bits_per_byte,
            "total_tokens": progress.tokens_seen,
            "history": copy_of(progress.history),
        }
        log_folder = state.settings.log_folder
        state.callbacks.event(
            "train_end",
            step=progress.step,
            summary=summary,
            best_checkpoint=saving.best_folder(),
            has_held_out=any(data.validation_rows is not None for data in state.stages),
            seconds=state.seconds(),
            checkpoint_dir=str(saving.checkpoints.directory) if saving.checkpoints.are_kept else None,
            log_dir=None if log_folder is None else str(log_folder),
        )
        return summary

    def _require_trained(self) -> None:
        """Refuses to end as a success where nothing was trained or the weights are of no use."""
        step = self._state.progress.step
        if step and (not self._state.has_updated() or self._never_updated()):
            raise FloatingPointError(
                f"the run changed nothing: all {step} steps were skipped, since their loss or "
                f"gradient was not finite; {self._saving.say_sound()}. Lower `learning_rate` and look at the "
                "data"
            )
        self._require_finite(f"after the last step, {step}")

    def _never_updated(self) -> bool:
        """Whether float16's gradients overflowed at every step, which counts none of them as skipped."""
        return computes_in_float16(self._state.model) and not self._state.progress.tokens_seen

    def _require_finite(self, where: str) -> None:
        if name := self._state.learner.find_non_finite():
            raise FloatingPointError(
                f"{where}, the weights are not finite (`{name}` is the first): they were not saved; "
                f"{self._saving.say_sound()}. Lower `learning_rate` and keep `gradient_clip`"
            )

    def _choose_weights(self) -> str:
        """Gives the model its weights of the run's end, and returns whose they are.

        Returns:
            `"last"`, of the last step; `"best"`, of the lowest held-out loss; `"callback"`, what a callback
            set.
        """
        state, checkpoints, model = self._state, self._saving.checkpoints, self._state.model
        optimizer, lowest = state.learner.optimizer, state.progress.lowest_val_step
        chosen, hook = "last", "on_train_end"
        may_change = (
            optimizer.averages()
            or checkpoints.best is not None
            or checkpoints.end is not None
            or state.callbacks.overrides(hook)
        )
        state.trained = TrainedWeights(model) if may_change else None
        optimizer.finalize_variable_values(model.trainable_variables)
        if checkpoints.best is not None and lowest is not None:
            chosen = "best"
            if lowest != state.progress.step:
                self._saving.wait()
                state.learner.replicas.wait_for_all()
                checkpoints.best.restore(lowest)
        elif checkpoints.end is not None:
            checkpoints.restore_end()
            chosen = "callback"
        elif lowest == state.progress.step:
            chosen = "best"
        if state.trained is None:
            state.callbacks.hook(hook, {})
            return chosen
        before = TrainedWeights(model)
        try:
            state.callbacks.hook(hook, {})
            self._require_finite("after the callbacks' `on_train_end`")
        except (CallbackFailed, FloatingPointError):
            state.trained.put_back()
            state.trained = None
            raise
        state.trained.keep_replaced()
        return "callback" if before.keep_replaced() else chosen
