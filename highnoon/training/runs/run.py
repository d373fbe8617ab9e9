"""One run of a plan: stages, epochs, steps, and what happens between them."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import math
import signal
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import keras

from highnoon.callbacks import CallbackGroup
from highnoon.callbacks.callback_group import CallbackFailed
from highnoon.data.bad_records import describe_left_out, left_out
from highnoon.data.sequences.streamed_rows import StreamedRows
from highnoon.files.shown import shown
from highnoon.training.checkpoints import checkpoint
from highnoon.training.checkpoints.run_checkpoints import Checkpoints
from highnoon.training.frozen_models import require_unchanged
from highnoon.training.learner import OUT_OF_MEMORY, Learner
from highnoon.training.plans.mix_fractions import MixFractions
from highnoon.training.plans.plan import TrainingPlan
from highnoon.training.plans.stage_data import StageData
from highnoon.training.plans.stage_plan import StagePlan
from highnoon.training.preflight.preflight import describe_out_of_memory, num_parameters
from highnoon.training.runs.ending import Ending
from highnoon.training.runs.epoch_record import keras_logs, record_epoch
from highnoon.training.runs.evaluations import Evaluations
from highnoon.training.runs.faults import Faults
from highnoon.training.runs.log_point import log_point
from highnoon.training.runs.progress import Progress
from highnoon.training.runs.rows_ahead import RowsAhead
from highnoon.training.runs.run_state import RunSettings, RunState, StepMetrics
from highnoon.training.runs.saving import Saving
from highnoon.training.runs.skipped_steps import TakenStep
from highnoon.training.runs.stop_signals import StopSignals
from highnoon.training.runs.task_loss_sums import TaskLossSums

# Larger steps gain nothing from a common call, whose rows are held and prefetched.
_TOKENS_OF_CALL = 2**18


class TrainingRun:
    """Takes a run from its progress to its end.

    Everything that decides what comes next is in `progress`, the learner's state and the schedulers, so a run
    that is stopped after any step and resumed from its checkpoint takes the same steps as one that is not.

    Args:
        learner: Model, optimizer and step state.
        stages: Data of each stage.
        plan: The plan made from them.
        progress: Where to begin; moved along.
        callbacks: Who watches.
        checkpoints: Where the run is saved.
        settings: What decides when the run does what.
    """

    def __init__(
        self,
        learner: Learner,
        stages: Sequence[StageData],
        plan: TrainingPlan,
        progress: Progress,
        callbacks: CallbackGroup,
        checkpoints: Checkpoints,
        settings: RunSettings,
    ) -> None:
        self.learner, self.progress, self.callbacks, self.settings = learner, progress, callbacks, settings
        self.state = RunState(learner, stages, plan, progress, callbacks, settings)
        self._saving = Saving(self.state, checkpoints)
        self._faults = Faults(self.state, self._saving)
        self._evaluations = Evaluations(self.state, self._saving)
        self._rows = RowsAhead()
        self._signals = StopSignals()

    def run(self, callback_states: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
        """Runs to the end and returns the summary.

        Args:
            callback_states: What the callbacks of a resumed run remember.

        Raises:
            KeyboardInterrupt: Ctrl-C; the run has been saved.
            SystemExit: SIGTERM; the run has been saved.
            FloatingPointError: too many steps in a row had to be skipped, all of the run's were, or the
                weights are not finite.
            CheckpointError: a checkpoint could not be written.
            RuntimeError: the weights of a frozen model changed.
            Exception: whatever a callback raised; the run has been saved.
        """
        try:
            with self._signals:
                return self._run(callback_states)
        except CallbackFailed as failure:
            error = failure.__cause__ or failure
            # What fails from here on must not prevent the run from being saved.
            self.callbacks.on_error = "warn"
            error.add_note(
                f"a callback raised this after step {self.progress.step}; {self._saving.save_interrupted()}"
            )
            raise error from None
        finally:
            self._rows.close()
            self.callbacks.close()
            self._saving.checkpoints.close()

    def _run(self, callback_states: Sequence[dict[str, Any]]) -> dict[str, Any]:
        progress, callbacks, state = self.progress, self.callbacks, self.state
        state.model.stop_training = False
        self._saving.align_best_role()
        callbacks.hook("on_train_begin", {})
        callbacks.remember_beginning()
        self._load_callbacks(callback_states)
        callbacks.event(
            "train_begin",
            run_id=self.settings.run_id,
            run_name=self.settings.run_name,
            step=progress.step,
            total_steps=state.plan.total_steps,
            num_parameters=num_parameters(state.model),
        )
        while progress.stage < len(state.stages) and not state.model.stop_training:
            self._run_stage(state.stages[progress.stage], state.plan.stages[progress.stage])
        return Ending(state, self._saving).finish()

    def _load_callbacks(self, states: Sequence[dict[str, Any]]) -> None:
        try:
            self.callbacks.load_state(states)
        except Exception as error:
            raise checkpoint.CheckpointError(
                f"the checkpoint's memory of a callback cannot be read ({type(error).__name__}: "
                f"{shown(str(error))}); choose another checkpoint, or train without that callback"
            ) from error

    def _run_stage(self, data: StageData, plan: StagePlan) -> None:
        progress, learner = self.progress, self.learner
        learner.start_stage(progress.micro_batch_size or data.config.batch_size, plan.trainable)
        self.state.mix = MixFractions([part["name"] for part in plan.mix], progress.mix_rows)
        self.state.task_losses = TaskLossSums(data.objective.tasks, progress.task_sums)
        if not (progress.epoch or progress.num_allowed):
            # Which losses are usual is another matter with other data.
            learner.state.forget_losses()
        learner.state.start_epoch(progress.loss_total, progress.token_total)
        alerts_off = list(data.objective.alerts_off)
        self.callbacks.event("stage_begin", stage=plan.name, step=progress.step, alerts_off=alerts_off)
        while not self._stage_is_over(data, plan) and not self.state.model.stop_training:
            self._run_epoch(data, plan)
        if isinstance(data.train_rows, StreamedRows) and (report := left_out(data.train_rows.source)):
            warnings.warn(f"stage `{plan.name}`: {describe_left_out(report)}", stacklevel=2)
        require_unchanged(data.objective, plan.frozen_models, f"stage `{plan.name}`")
        self._complete_stage(plan)
        self._save_if_due()

    def _stage_is_over(self, data: StageData, plan: StagePlan) -> bool:
        progress, patience = self.progress, data.config.early_stopping_patience
        if progress.num_allowed:
            return False
        length_reached = (
            progress.stage_step >= plan.steps if plan.epochs is None else progress.epoch >= plan.epochs
        )
        return length_reached or (patience is not None and progress.epochs_without_improvement >= patience)

    def _complete_stage(self, plan: StagePlan) -> None:
        progress = self.progress
        metrics = {
            "final_loss": progress.train_loss,
            "epochs": progress.epoch,
            "steps": progress.stage_step,
            "val_loss": progress.val_loss,
        }
        if progress.train_loss is not None and math.isnan(progress.train_loss):
            warnings.warn(
                f"stage `{plan.name}` ends without a loss: every step of its last epoch was skipped or had "
                "no supervised token; lower `learning_rate` and look at its data",
                stacklevel=2,
            )
        progress.stages_completed.append({"name": plan.name, **metrics})
        progress.start_stage(progress.stage + 1)
        self.callbacks.event("stage_complete", stage=plan.name, step=progress.step, metrics=metrics)

    def _run_epoch(self, data: StageData, plan: StagePlan) -> None:
        progress, is_resumed = self.progress, bool(self.progress.num_allowed)
        if not is_resumed:
            data.announce(progress.epoch, progress.stage_step)
            progress.start_epoch(data.num_allowed(progress.epoch, progress.stage_step))
            progress.note_span()
            self.learner.state.start_epoch()
        elif progress.logged is None:
            # A checkpoint of an older version does not say what was logged.
            self.state.note_totals()
        view = data.view(progress.epoch, progress.num_allowed)
        num_steps = data.steps_in(view)
        self.state.align_schedule(data, num_steps)
        with self._fixed_learning_rate(is_resumed):
            self.callbacks.hook("on_epoch_begin", self._keras_epoch(), {})
        while not self._epoch_is_over(data, plan, num_steps):
            self._take_steps(data, plan, view)
            self._between_steps(data, plan, num_steps)
            if self.state.model.stop_training:
                break
            if not self._epoch_is_over(data, plan, num_steps) and self._save_if_due():
                self.state.align_schedule(data, num_steps)
        self._end_epoch(data, plan)

    @contextlib.contextmanager
    def _fixed_learning_rate(self, is_resumed: bool) -> Iterator[None]:
        """In the middle of an epoch its learning rate was set already, when it began before the kill."""
        variables = self.learner.optimizer.learning_rate_variables() if is_resumed else []
        before = [keras.ops.convert_to_numpy(variable) for variable in variables]
        yield
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)

    def _epoch_is_over(self, data: StageData, plan: StagePlan, num_steps: int) -> bool:
        return self.progress.step_in_epoch >= num_steps or self._epoch_is_cut_short(data, plan)

    def _epoch_is_cut_short(self, data: StageData, plan: StagePlan) -> bool:
        """Whether the stage's steps are used up, or its scheduler, counting steps, now allows others."""
        progress = self.progress
        if plan.epochs is None and progress.stage_step >= plan.steps:
            return True
        if not data.counts_steps:
            return False
        return data.num_allowed(progress.epoch, progress.stage_step) != progress.num_allowed

    def _take_steps(self, data: StageData, plan: StagePlan, view: Any) -> None:
        """Takes the steps of one call."""
        progress = self.progress
        first, count = progress.step_in_epoch, self._num_steps_of_call(data, plan, view)
        self.callbacks.batch_hook("on_train_batch_begin", first, {})
        began = time.perf_counter()
        batch = self.learner.replicas.read(
            functools.partial(self._rows.read, data, view, first, num_steps=count),
            data.rows_per_replica,
            wants_stop=self._signals.requested is not None,
        )
        waited = time.perf_counter() - began
        results = self._compute(data, batch, plan.loss_weight, count)
        self.state.mix.add(view, first * data.rows_per_step, count * data.rows_per_step)
        self.state.throughput.add(results["num_tokens"], waited, data.config.max_seq_length)
        taken = [
            TakenStep(
                progress.step + number + 1,
                StepMetrics(results, number if count > 1 else ()),
                {"stage": progress.stage, "epoch": progress.epoch, "step_in_epoch": first + number},
                functools.partial(_batch_and_documents, data, view, first + number),
            )
            for number in range(count)
        ]
        self.state.metrics = taken[-1].metrics
        progress.step += count
        progress.stage_step += count
        progress.step_in_epoch += count
        self._faults.add(taken)
        self.state.task_losses.add([step.metrics for step in taken])

    def _num_steps_of_call(self, data: StageData, plan: StagePlan, view: Any) -> int:
        """How many steps to take at once: a call ends where something is to be done between two steps."""
        progress, settings = self.progress, self.settings
        if settings.steps_per_execution == 1 or not self.learner.can_take_several():
            return 1
        # The last step of an epoch, whose rows are fewer, is taken alone.
        room = [settings.steps_per_execution, view.num_rows // data.rows_per_step - progress.step_in_epoch]
        room.append(_TOKENS_OF_CALL // data.tokens_per_step)
        room += [every - progress.step % every for every in dataclasses.astuple(settings.intervals)]
        if plan.epochs is None:
            room.append(plan.steps - progress.stage_step)
        count = max(1, min(room))
        if data.counts_steps:
            allowed = (data.num_allowed(progress.epoch, progress.stage_step + more) for more in range(count))
            count = sum(1 for _ in itertools.takewhile(lambda num: num == progress.num_allowed, allowed))
        return count

    def _compute(self, data: StageData, batch: Any, loss_weight: float, count: int) -> dict[str, Any]:
        """Runs the steps, and reports micro-batches that the learner had to halve."""
        learner, progress = self.learner, self.progress
        measures = self.state.is_log_point(progress.step + count)
        size, step = learner.micro_batch_size, progress.step + 1
        try:
            if count > 1:
                return learner.several(batch, data.objective, loss_weight, measures)
            results = learner.step(batch, data.objective, loss_weight, measures)
        except OUT_OF_MEMORY as error:
            where = f"at step {step}, micro-batches of {learner.micro_batch_size} rows"
            where += f" and {count} steps in a call" if count > 1 else ""
            memory = self.settings.memory
            error.add_note(f"{where}: {describe_out_of_memory(memory, error)}" if memory else where)
            raise
        while size > learner.micro_batch_size:
            size //= 2
            progress.micro_batch_size = size
            self.callbacks.event("micro_batch_halved", step=step, micro_batch_size=size)
        return results

    def _between_steps(self, data: StageData, plan: StagePlan, num_steps: int) -> None:
        progress, callbacks, intervals = self.progress, self.callbacks, self.settings.intervals
        is_last = progress.step_in_epoch == num_steps
        is_log_point = self.state.is_log_point(progress.step)
        is_evaluated = progress.step % intervals.eval == 0 and (data.counts_steps or not is_last)
        self._saving.is_due |= progress.step % intervals.checkpoint == 0
        went_back = self._faults.examine(includes_last=is_log_point or is_evaluated or self._saving.is_due)
        callbacks.event("step_end", step=progress.step)
        if callbacks.watches_batches and self.state.metrics is not None:
            callbacks.batch_hook(
                "on_train_batch_end", progress.step_in_epoch - 1, {"loss": float(self.state.metrics["loss"])}
            )
        if went_back:
            # What was to be reported is of a step that counts no more.
            self.state.align_schedule(data, num_steps)
            is_log_point = is_evaluated = False
        if is_log_point:
            log_point(self.state, data)
        if is_evaluated:
            val_loss = self._evaluations.evaluate(data)
            if data.counts_steps and val_loss is not None:
                self._evaluations.tell_scheduler(data, progress.stage_step - 1, val_loss)
        self._saving.report_finished()
        if self._is_asked_to_stop():
            self._leave()

    def _is_asked_to_stop(self) -> bool:
        """Whether to leave now; of several processes all leave after the same step."""
        if self.learner.replicas.num_workers == 1:
            return self._signals.requested is not None
        return self.state.metrics is not None and bool(self.state.metrics["num_stops"] > 0)

    def _end_epoch(self, data: StageData, plan: StagePlan) -> None:
        progress, patience = self.progress, data.config.early_stopping_patience
        self._faults.examine(includes_last=True)
        self.state.read_totals()
        progress.end_epoch()
        keras_epoch = self._keras_epoch() - 1
        val_loss = self._evaluations.evaluate(data)
        if val_loss is not None:
            progress.record_val_loss(val_loss, data.config.early_stopping_min_delta)
        if not data.counts_steps:
            self._evaluations.tell_scheduler(
                data, progress.epoch - 1, progress.train_loss if val_loss is None else val_loss
            )
        self.callbacks.hook("on_epoch_end", keras_epoch, keras_logs(self.state, val_loss))
        self.callbacks.event("epoch_end", **record_epoch(self.state, plan, val_loss))
        if patience is not None and progress.epochs_without_improvement >= patience:
            self.callbacks.event(
                "early_stop",
                stage=plan.name,
                epoch=progress.epoch,
                val_loss=val_loss,
                best_val_loss=progress.best_val_loss,
                step=progress.step,
            )
        if not self._stage_is_over(data, plan) and not self.state.model.stop_training:
            self._save_if_due()

    def _keras_epoch(self) -> int:
        """Epochs of the entire run before this one, the number that Keras's hooks expect."""
        return sum(stage["epochs"] for stage in self.progress.stages_completed) + self.progress.epoch

    def _save_if_due(self) -> bool:
        """Saves if a checkpoint is due.

        Returns:
            Whether the weights were not finite, and the run went back to a checkpoint instead.
        """
        if not self._saving.is_to_save():
            return False
        if name := self.learner.find_non_finite():
            where = f"after step {self.progress.step} the weights are not finite: `{name}` is the first"
            return self._faults.answer(where)
        self._saving.save()
        return False

    def _leave(self) -> None:
        message = f"stopped after step {self.progress.step}; {self._saving.save_interrupted()}"
        if self._signals.requested == signal.SIGTERM:
            raise SystemExit(message)
        raise KeyboardInterrupt(message)


def _batch_and_documents(data: StageData, view: Any, step: int) -> tuple[Any, list[list[int]]]:
    return data.batch(view, step), data.documents(view, step)
