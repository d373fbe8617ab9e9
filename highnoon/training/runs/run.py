"""One run of a plan: stages, epochs, steps, and what happens between them."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import operator
import pathlib
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from highnoon.callbacks import CallbackGroup
from highnoon.callbacks.callback_group import CallbackFailed
from highnoon.config import TrainingConfig
from highnoon.data.bad_records import describe_left_out, left_out
from highnoon.data.sequences.streamed_rows import StreamedRows
from highnoon.files.shown import shown
from highnoon.training.checkpoints import checkpoint
from highnoon.training.checkpoints.checkpoint_writer import CheckpointWriter
from highnoon.training.optimizers import FunctionalOptimizer
from highnoon.training.plans.mix_shares import MixShares
from highnoon.training.plans.plan import StagePlan, TrainingPlan
from highnoon.training.plans.stage_data import StageData
from highnoon.training.runs.best_weights import BestWeights
from highnoon.training.runs.progress import Progress
from highnoon.training.runs.rows_ahead import RowsAhead
from highnoon.training.runs.skipped_steps import SkippedSteps, TakenStep
from highnoon.training.runs.stop_signals import StopSignals
from highnoon.training.runs.throughput import Throughput
from highnoon.training.runs.trained_weights import TrainedWeights
from highnoon.training.steps.averaged_weights import averaged_weights
from highnoon.training.steps.evaluation import EvaluationStep
from highnoon.training.steps.finite_weights import find_non_finite
from highnoon.training.steps.micro_batches import TOTAL, WEIGHT, metric_sums
from highnoon.training.steps.replicas import Replicas
from highnoon.training.steps.run_schedule import RunSchedule
from highnoon.training.steps.step import TrainStep, computes_in_float16
from highnoon.training.steps.step_state import FaultLimits, StepState

PERIODIC_VALIDATION_TOKENS = 2**18

# Larger steps gain nothing from sharing a call, whose rows are held and read ahead.
_TOKENS_OF_CALL = 2**18


@dataclasses.dataclass(frozen=True)
class Intervals:
    """Optimizer steps between log points, evaluations and checkpoints."""

    log: int
    eval: int
    checkpoint: int


class TrainingRun:
    """Takes a run from where its progress stands to its end.

    Everything that decides what comes next is in `progress`, the step's state and the schedulers, so a run
    that is stopped after any step and continued from its checkpoint takes the same steps as one that is not.

    Args:
        model: The model, its variables under the replicas' strategy.
        optimizer: Built; its learning rate is `schedule`.
        schedule: Knows the whole run; told at each epoch where in the plan the run stands.
        step_state: What the step remembers.
        replicas: The devices.
        stages: Data of each stage.
        plan: The plan made from them.
        progress: Where to begin; moved along.
        callbacks: Who watches.
        intervals: When to log, evaluate and save.
        config: The run's configuration.
        jit_compile: Whether XLA compiles the forward and backward pass, see `TrainStep`.
        writer: Writes checkpoints; None saves nothing.
        capture: Copies the run's state and returns what writes it.
        find_sound: Returns the newest checkpoint that is finite and from before a streak of skipped steps.
        go_back: Restores such a checkpoint and returns its progress.
        restore_best: Gives the model the weights of an evaluated step; None leaves it the last step's.
        restore_end: Gives the model the weights that a callback had set when this run ended before; None
            where it did not end, or with other weights.
        skipped_folder: Where the batches of skipped steps are kept; None keeps none.
        auto_batch: Whether a call of one step, as the first is, that does not fit into memory is tried with
            smaller micro-batches.
        steps_per_execution: Most steps in one call of the device.
        run_id: Names the run in its events and its log folder; the same after a resume.
        explain_memory: Returns what to say where it does not.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: FunctionalOptimizer,
        schedule: RunSchedule,
        step_state: StepState,
        replicas: Replicas,
        stages: Sequence[StageData],
        plan: TrainingPlan,
        progress: Progress,
        callbacks: CallbackGroup,
        intervals: Intervals,
        config: TrainingConfig,
        jit_compile: bool | None,
        writer: CheckpointWriter | None,
        capture: Callable[[], Callable[[pathlib.Path], None]],
        find_sound: Callable[[], pathlib.Path | None],
        go_back: Callable[[pathlib.Path], Progress],
        restore_best: BestWeights | None,
        restore_end: Callable[[], None] | None,
        skipped_folder: pathlib.Path | None,
        auto_batch: bool,
        steps_per_execution: int,
        run_id: str,
        explain_memory: Callable[[BaseException], str],
    ) -> None:
        self.model, self.optimizer, self.step_state, self.replicas = model, optimizer, step_state, replicas
        self.schedule = schedule
        self.stages, self.plan, self.progress = stages, plan, progress
        self.callbacks, self.intervals, self.config = callbacks, intervals, config
        self.jit_compile, self.auto_batch = jit_compile, auto_batch
        self.steps_per_execution, self.run_id = steps_per_execution, run_id
        self._writer, self._capture, self._best = writer, capture, restore_best
        self._find_sound, self._go_back, self._restore_end = find_sound, go_back, restore_end
        self._explain = explain_memory
        self._steps: dict[int, TrainStep] = {}
        self._step: TrainStep
        self._validate = EvaluationStep(model, replicas)
        self._rows = RowsAhead()
        self._skipped = SkippedSteps(skipped_folder)
        self._signals = StopSignals()
        self._throughput = Throughput(model, replicas.count)
        self._mix = MixShares(())
        self._metrics: Mapping[str, Any] | None = None
        self._saved_at: tuple[int, ...] = ()
        self._is_best = self._is_save_due = False
        self._trained: TrainedWeights | None = None

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
            Exception: whatever a callback raised; the run has been saved.
        """
        try:
            with self._signals:
                return self._run(callback_states)
        except CallbackFailed as failure:
            error = failure.__cause__
            assert error is not None
            # What fails from here on must not keep the run from being saved.
            self.callbacks.on_error = "warn"
            error.add_note(
                f"a callback raised this after step {self.progress.step}; {self._save_and_say_where()}"
            )
            raise error from None
        finally:
            self._rows.close()
            self.callbacks.close()
            if self._writer is not None:
                self._writer.close()

    def state(self) -> dict[str, Any]:
        """Returns what a checkpoint keeps of the run besides arrays, as JSON values."""
        self._read_totals()
        self.progress.mix_rows = self._mix.rows
        schedulers = [data.stage.scheduler for data in self.stages]
        return {
            "progress": dataclasses.asdict(self.progress),
            "schedulers": [scheduler and scheduler.state_dict() for scheduler in schedulers],
            "callbacks": self.callbacks.state(),
        }

    def trained_weights(self) -> dict[str, np.ndarray]:
        """Returns the weights from which training would continue, where the model's are others by now."""
        return {} if self._trained is None else self._trained.arrays()

    def _read_totals(self) -> None:
        self.progress.loss_total = self.step_state["loss_total"]
        self.progress.token_total = self.step_state["token_total"]

    def _run(self, callback_states: Sequence[dict[str, Any]]) -> dict[str, Any]:
        progress, callbacks = self.progress, self.callbacks
        self.model.stop_training = False
        self._align_best_role()
        callbacks.hook("on_train_begin", {})
        callbacks.remember_beginning()
        self._load_callbacks(callback_states)
        callbacks.event(
            "train_begin",
            run_id=self.run_id,
            step=progress.step,
            total_steps=self.plan.total_steps,
            num_parameters=self.model.count_params(),
        )
        while progress.stage < len(self.stages) and not self.model.stop_training:
            self._run_stage(self.stages[progress.stage], self.plan.stages[progress.stage])
        return self._end()

    def _load_callbacks(self, states: Sequence[dict[str, Any]]) -> None:
        try:
            self.callbacks.load_state(states)
        except Exception as error:
            raise checkpoint.CheckpointError(
                f"the checkpoint's memory of a callback cannot be read ({type(error).__name__}: "
                f"{shown(str(error))}); choose another checkpoint, or train without that callback"
            ) from error

    def _end(self) -> dict[str, Any]:
        """Chooses the model's weights, saves them as `final`, and returns the summary."""
        self._require_trained()
        weights = self.progress.ended_with = self._choose_weights()
        if self._saved_at != self._place() or self.trained_weights():
            self._save()
        self._finish_saving(checkpoint.FINAL)
        progress = self.progress
        best = {"best_step": progress.lowest_val_step, "best_val_loss": progress.lowest_val_loss}
        summary = {
            "total_steps": progress.step,
            "stages_completed": list(progress.stages_completed),
            "weights": weights,
            **best,
        }
        self.callbacks.event(
            "train_end", step=progress.step, summary=summary, best_checkpoint=self._best_folder()
        )
        return summary

    def _require_trained(self) -> None:
        """Refuses to end as a success where nothing was learnt or the weights are of no use."""
        progress, skipped = self.progress, self.step_state["skipped"]
        if progress.step and (skipped >= progress.step or self._never_updated()):
            raise FloatingPointError(
                f"the run changed nothing: all {progress.step} steps were skipped, since their loss or "
                f"gradient was not finite; {self._say_sound()}. Lower `learning_rate` and look at the data"
            )
        self._require_finite(f"after the last step, {progress.step}")

    def _never_updated(self) -> bool:
        """Whether float16's gradients overflowed at every step, which counts none of them as skipped."""
        return computes_in_float16(self.model) and not self.progress.tokens_seen

    def _require_finite(self, where: str) -> None:
        if name := self._find_non_finite():
            raise FloatingPointError(
                f"{where}, the weights are not finite (`{name}` is the first): they were not saved; "
                f"{self._say_sound()}. Lower `learning_rate` and keep `gradient_clip`"
            )

    def _find_non_finite(self) -> str | None:
        return find_non_finite([*self.model.weights, *self.optimizer.averages()])

    def _say_sound(self) -> str:
        """Says which checkpoint is sound, once all are written."""
        if self._writer is None:
            return "the run keeps no checkpoints"
        self._report_saved(self._writer.wait())
        folder = self._find_sound()
        if folder is None:
            return "there is no checkpoint with finite weights from before it"
        return f"the newest sound checkpoint is {folder}, resume with train(resume_from={str(folder)!r})"

    def _choose_weights(self) -> str:
        """Gives the model its weights of the run's end, and returns whose they are.

        Returns:
            `"last"`, of the last step; `"best"`, of the lowest held-out loss; `"callback"`, what a callback
            set.
        """
        progress, hook = self.progress, "on_train_end"
        chosen = "last"
        may_change = (
            self.optimizer.averages()
            or self._best is not None
            or self._restore_end is not None
            or self.callbacks.overrides(hook)
        )
        self._trained = TrainedWeights(self.model) if may_change else None
        self.optimizer.finalize_variable_values(self.model.trainable_variables)
        if self._best is not None and progress.lowest_val_step is not None:
            chosen = "best"
            if progress.lowest_val_step != progress.step:
                if self._writer is not None:
                    self._report_saved(self._writer.wait())
                self.replicas.wait_for_all()
                self._best.restore(progress.lowest_val_step)
        elif self._restore_end is not None:
            self._restore_end()
            chosen = "callback"
        elif progress.lowest_val_step == progress.step:
            chosen = "best"
        if self._trained is None:
            self.callbacks.hook(hook, {})
            return chosen
        before = TrainedWeights(self.model)
        try:
            self.callbacks.hook(hook, {})
            self._require_finite("after the callbacks' `on_train_end`")
        except (CallbackFailed, FloatingPointError):
            self._trained.put_back()
            self._trained = None
            raise
        self._trained.keep_replaced()
        return "callback" if before.keep_replaced() else chosen

    def _best_folder(self) -> str | None:
        """The folder of the best step's checkpoint, where checkpoints are kept."""
        step = self.progress.lowest_val_step
        return None if self._writer is None or step is None else str(self._writer.folder(step))

    def _run_stage(self, data: StageData, plan: StagePlan) -> None:
        progress = self.progress
        self._step = self._step_for(progress.micro_batch_size or data.config.batch_size)
        self._mix = MixShares([part["name"] for part in plan.mix], progress.mix_rows)
        if not (progress.epoch or progress.num_allowed):
            # Which losses are usual is another matter with other data.
            self.step_state.forget_losses()
        self.step_state.start_epoch(progress.loss_total, progress.token_total)
        self.callbacks.event("stage_begin", stage=plan.name, step=self.progress.step)
        while not self._stage_is_over(data, plan) and not self.model.stop_training:
            self._run_epoch(data, plan)
        if isinstance(data.train_rows, StreamedRows) and (report := left_out(data.train_rows.source)):
            warnings.warn(f"stage `{plan.name}`: {describe_left_out(report)}", stacklevel=2)
        self._complete_stage(plan)
        self._save_if_due()

    def _step_for(self, micro_batch_size: int) -> TrainStep:
        if micro_batch_size not in self._steps:
            self._steps[micro_batch_size] = TrainStep(
                self.model,
                self.optimizer,
                micro_batch_size,
                self.config.gradient_clip,
                self.jit_compile,
                self.replicas,
                self.step_state,
                FaultLimits(self.config.spike_threshold, computes_in_float16(self.model)),
            )
        return self._steps[micro_batch_size]

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
        progress = self.progress
        if not progress.num_allowed:
            data.announce(progress.epoch, progress.stage_step)
            progress.start_epoch(data.num_allowed(progress.epoch, progress.stage_step))
            progress.note_span()
            self.step_state.start_epoch()
        elif progress.logged is None:
            # A checkpoint of an older version does not say what was logged.
            self._note_totals()
        view = data.view(progress.epoch, progress.num_allowed)
        num_steps = data.steps_in(view)
        self._align_schedule(data, plan, num_steps)
        self.callbacks.hook("on_epoch_begin", self._keras_epoch(), {})
        while not self._epoch_is_over(data, plan, num_steps):
            self._take_steps(data, plan, view)
            self._between_steps(data, plan, num_steps)
            if self.model.stop_training:
                break
            if not self._epoch_is_over(data, plan, num_steps) and self._save_if_due():
                self._align_schedule(data, plan, num_steps)
        self._end_epoch(data, plan)

    def _note_totals(self) -> None:
        """Lets the next log point's loss be the mean from here on."""
        self.progress.logged = [self.step_state["loss_total"], self.step_state["token_total"]]

    def _align_schedule(self, data: StageData, plan: StagePlan, num_steps: int) -> None:
        """Tells the schedule at which planned step the epoch began, and how many each of its steps counts."""
        progress = self.progress
        stage_start = sum(stage.steps for stage in self.plan.stages[: progress.stage])
        position, pace = data.planned_epoch(
            plan.epochs or 1, progress.epoch, progress.stage_step - progress.step_in_epoch, num_steps
        )
        self.schedule.align(progress.step - progress.step_in_epoch, stage_start + position, pace)

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
        place, count = progress.step_in_epoch, self._num_steps_of_call(data, plan, view)
        self.callbacks.batch_hook("on_train_batch_begin", place, {})
        began = time.perf_counter()
        batch = self.replicas.read(
            lambda first, rows: self._rows.read(data, view, place, first, rows, count),
            data.rows_per_replica,
            wants_stop=self._signals.requested is not None,
        )
        waited = time.perf_counter() - began
        results = self._compute(batch, plan.loss_weight, count)
        self._mix.add(view, place * data.rows_per_step, count * data.rows_per_step)
        self._throughput.add(results["num_tokens"], waited, data.config.max_seq_length)
        taken = [
            TakenStep(
                progress.step + number + 1,
                StepMetrics(results, number if count > 1 else ()),
                {"stage": progress.stage, "epoch": progress.epoch, "step_in_epoch": place + number},
                functools.partial(_batch_and_documents, data, view, place + number),
            )
            for number in range(count)
        ]
        self._metrics = taken[-1].metrics
        progress.step += count
        progress.stage_step += count
        progress.step_in_epoch += count
        self._skipped.add(taken)

    def _num_steps_of_call(self, data: StageData, plan: StagePlan, view: Any) -> int:
        """How many steps to take at once: a call ends where something is to be done between two steps."""
        progress, intervals = self.progress, self.intervals
        if self.steps_per_execution == 1 or not self._step.can_take_several(data.config.max_seq_length):
            return 1
        # The last step of an epoch, whose rows are fewer, is taken alone.
        room = [self.steps_per_execution, view.num_rows // data.rows_per_step - progress.step_in_epoch]
        room.append(_TOKENS_OF_CALL // data.tokens_per_step)
        room += [every - progress.step % every for every in dataclasses.astuple(intervals)]
        if plan.epochs is None:
            room.append(plan.steps - progress.stage_step)
        count = max(1, min(room))
        if data.counts_steps:
            allowed = (data.num_allowed(progress.epoch, progress.stage_step + more) for more in range(count))
            count = sum(1 for _ in itertools.takewhile(lambda num: num == progress.num_allowed, allowed))
        return count

    def _compute(self, batch: Any, loss_weight: float, count: int) -> dict[str, Any]:
        """Runs the steps; one that does not fit into memory, with micro-batches of half the size if asked.

        The global batch stays as it is, and with it the weights, to rounding.
        """
        step = self.progress.step + 1
        measures = self._is_log_point(self.progress.step + count)
        while True:
            try:
                if count > 1:
                    return self._step.several(batch, loss_weight, measures)
                return self._step(batch, loss_weight, measures)
            except (tf.errors.ResourceExhaustedError, MemoryError) as error:
                size = self._step.micro_batch_size
                if not self.auto_batch or size == 1 or count > 1:
                    where = f"at step {step}, micro-batches of {size} rows"
                    where += f" and {count} steps in a call" if count > 1 else ""
                    error.add_note(f"{where}: {self._explain(error)}")
                    raise
            self._step = self._step_for(size // 2)
            self.progress.micro_batch_size = size // 2
            self.callbacks.event("micro_batch_halved", step=step, micro_batch_size=size // 2)

    def _is_log_point(self, step: int) -> bool:
        return step == 1 or step % self.intervals.log == 0

    def _between_steps(self, data: StageData, plan: StagePlan, num_steps: int) -> None:
        progress, callbacks = self.progress, self.callbacks
        is_last = progress.step_in_epoch == num_steps
        is_log_point = self._is_log_point(progress.step)
        is_evaluated = progress.step % self.intervals.eval == 0 and (data.counts_steps or not is_last)
        self._is_save_due |= progress.step % self.intervals.checkpoint == 0
        went_back = self._answer_skipped_steps(is_log_point or is_evaluated or self._is_save_due)
        callbacks.event("step_end", step=progress.step)
        if callbacks.watches_batches:
            assert self._metrics is not None
            callbacks.batch_hook(
                "on_train_batch_end", progress.step_in_epoch - 1, {"loss": float(self._metrics["loss"])}
            )
        if went_back:
            # What was to be told is of a step that counts no more.
            self._align_schedule(data, plan, num_steps)
            is_log_point = is_evaluated = False
        if is_log_point:
            self._log(plan)
        if is_evaluated:
            val_loss = self._evaluate(data, plan)
            if data.counts_steps and val_loss is not None:
                self._tell_scheduler(data, progress.stage_step - 1, val_loss)
        if self._writer is not None:
            self._report_saved(self._writer.finished())
        if self._is_asked_to_stop():
            self._leave()

    def _is_asked_to_stop(self) -> bool:
        """Whether to leave now; of several processes all leave after the same step."""
        if self.replicas.num_workers == 1:
            return self._signals.requested is not None
        return self._metrics is not None and bool(self._metrics["num_stops"] > 0)

    def _answer_skipped_steps(self, includes_last: bool) -> bool:
        """Reports skipped steps; where they are too many in a row, climbs the fault ladder.

        Returns:
            Whether the run went back to a checkpoint.
        """
        most = self.config.max_skipped_steps
        skipped = self._skipped.examine(includes_last)
        if any(step.in_a_row >= most for step in skipped):
            # The answer begins anew behind all that was taken so far.
            skipped += self._skipped.examine(includes_last=True)
        for error in self._skipped.take_errors():
            self.callbacks.report(error)
        for step in skipped:
            fields = dataclasses.asdict(step) | {"path": step.path and str(step.path)}
            self.callbacks.event("step_skipped", **fields)
        for step in skipped:
            if step.in_a_row >= most:
                return self._climb(
                    f"{step.in_a_row} steps in a row up to step {step.step} were skipped: the loss is "
                    f"{step.loss:g} and the gradient's norm {step.grad_norm:g}",
                    step.path and step.path.parent,
                )
        return False

    def _climb(self, reason: str, kept_in: pathlib.Path | None = None) -> bool:
        """Answers a fault by the next rung of the ladder; returns whether the run went back.

        A lower rate does not mend weights that are not finite: then only going back does.

        Raises:
            FloatingPointError: there is no rung left, or nothing to go back to.
        """
        progress, ladder = self.progress, self.config.on_repeated_faults
        is_broken = self._find_non_finite() is not None
        rungs = [
            (place, rung)
            for place, rung in enumerate(ladder)
            if place >= progress.num_fault_answers and (rung == "go_back" or not is_broken)
        ]
        place, rung = rungs[0] if rungs else (len(ladder), "stop")
        target = self._folder_to_go_back_to() if rung == "go_back" else None
        if rung == "stop" or (rung == "go_back" and target is None):
            kept = f"; the batches are kept in {kept_in}" if kept_in else ""
            raise FloatingPointError(
                f"{reason}{kept}. Lower `learning_rate`, keep `gradient_clip`, and look at the batches; "
                f"{self._say_sound()}"
            )
        if target is not None:
            self._go_back_to(target)
        else:
            factor = self.optimizer.learning_rate_factor
            factor.assign(0.5 * factor)
        progress.num_fault_answers = place + 1
        self.step_state.reset_fault_counters()
        self._skipped.forget()
        factor = float(self.optimizer.learning_rate_factor)
        self.callbacks.event(
            "fault_answered", answer=rung, reason=reason, step=progress.step, learning_rate_factor=factor
        )
        return target is not None

    def _folder_to_go_back_to(self) -> pathlib.Path | None:
        if self._writer is None:
            return None
        self._report_saved(self._writer.wait())
        self.replicas.wait_for_all()
        return self._find_sound()

    def _go_back_to(self, folder: pathlib.Path) -> None:
        """Takes weights, slots and the count of steps from a checkpoint, but continues with the data after
        the batch that was read last."""
        here = self.progress
        here.go_back_to(self._go_back(folder))
        here.note_span()
        self._note_totals()
        self._is_best = self._is_save_due = False
        self._align_best_role()

    def _align_best_role(self) -> None:
        """Lets `best` name the checkpoint that the progress says is the best, which protects it from pruning.

        A run that is killed right after it wrote that checkpoint has not named it yet.
        """
        if self._writer is None or not self.replicas.is_chief:
            return
        step = self.progress.lowest_val_step
        if step is None:
            self._writer.drop_role(checkpoint.BEST)
        elif self._writer.folder(step).is_dir():
            self._writer.give_role(step, checkpoint.BEST)

    def _log(self, plan: StagePlan) -> None:
        """Reads metrics from the device: the mean loss since the last log point, the rest of this step."""
        assert self.progress.logged is not None and self._metrics is not None
        before = self.progress.logged
        self._note_totals()
        now = self.progress.logged
        num_tokens = now[1] - before[1]
        # Where every step was skipped, the last one's loss says why.
        loss = (now[0] - before[0]) / num_tokens if num_tokens else float(self._metrics["loss"])
        metrics = {
            _metric_name(name): float(value)
            for name, value in self._metrics.items()
            if name not in _NOT_LOGGED and not name.startswith((TOTAL, WEIGHT))
        }
        sums = {
            name: (np.asarray(total, np.float64), float(weight))
            for name, (total, weight) in metric_sums(self._metrics).items()
        }
        metrics |= self._step.objective.metric_values(sums)
        metrics |= {"train/loss": loss, "train/skipped_steps": float(self.step_state["skipped"])}
        metrics |= self._throughput.report()
        metrics |= self._mix.report()
        self.callbacks.event("log", stage=plan.name, step=self.progress.step, metrics=metrics)

    def _evaluate(self, data: StageData, plan: StagePlan) -> float | None:
        """Returns the held-out loss in nats a token, or None where nothing is held out.

        A step is evaluated once: what was found before, also before a kill, holds.
        """
        progress = self.progress
        if data.validation_rows is None:
            return None
        if progress.evaluated_step == progress.step:
            return progress.evaluated_loss
        began = time.perf_counter()
        self.callbacks.hook("on_test_begin", {})
        with averaged_weights(self.model, self.optimizer):
            parts = {
                name: self._validate(batches)
                for name, batches in data.validation_batches_by_dataset(PERIODIC_VALIDATION_TOKENS).items()
            }
        split = functools.reduce(operator.add, parts.values())
        self.callbacks.hook("on_test_end", {"loss": split.loss})
        metrics = {"val/loss": split.loss, "val/perplexity": split.perplexity}
        if len(parts) > 1:
            metrics |= {f"val/loss/{name}": part.loss for name, part in parts.items()}
        self.callbacks.event("evaluation", stage=plan.name, step=self.progress.step, metrics=metrics)
        progress.record_evaluation(split.loss)
        if progress.record_lowest(split.loss, data.validation_key) and not self._find_non_finite():
            self._is_best = self._is_save_due = True
            if self._best is not None:
                self._best.keep(progress.step)
        self._throughput.pause(time.perf_counter() - began)
        return split.loss

    def _end_epoch(self, data: StageData, plan: StagePlan) -> None:
        progress = self.progress
        self._answer_skipped_steps(includes_last=True)
        self._read_totals()
        progress.end_epoch()
        keras_epoch = self._keras_epoch() - 1
        val_loss = self._evaluate(data, plan)
        if val_loss is not None:
            progress.record_val_loss(val_loss, data.config.early_stopping_min_delta)
        if not data.counts_steps:
            self._tell_scheduler(
                data, progress.epoch - 1, progress.train_loss if val_loss is None else val_loss
            )
        logs = {"loss": _comparable(progress.train_loss)}
        logs |= {} if val_loss is None else {"val_loss": _comparable(val_loss)}
        self.callbacks.hook("on_epoch_end", keras_epoch, logs)
        self.callbacks.event(
            "epoch_end",
            stage=plan.name,
            epoch=progress.epoch,
            loss=progress.train_loss,
            val_loss=val_loss,
            step=progress.step,
        )
        patience = data.config.early_stopping_patience
        if patience is not None and progress.epochs_without_improvement >= patience:
            self.callbacks.event(
                "early_stop",
                stage=plan.name,
                epoch=progress.epoch,
                val_loss=val_loss,
                best_val_loss=progress.best_val_loss,
                step=progress.step,
            )
        if not self._stage_is_over(data, plan) and not self.model.stop_training:
            self._save_if_due()

    def _tell_scheduler(self, data: StageData, when: int, loss: float | None) -> None:
        """Lets an adaptive scheduler see a loss; one that is not finite says nothing of what was learnt."""
        if loss is None or not math.isfinite(loss):
            return
        if hasattr(data.stage.scheduler, "update_with_loss"):
            data.stage.scheduler.update_with_loss(epoch=when, current_loss=loss)

    def _keras_epoch(self) -> int:
        """Epochs of the whole run before this one, the number that Keras's hooks expect."""
        return sum(stage["epochs"] for stage in self.progress.stages_completed) + self.progress.epoch

    def _save_if_due(self) -> bool:
        """Saves where a checkpoint is due, once all else that belongs to the step was done.

        In a streak of skipped steps it stays due until the next good one: the checkpoint would push out
        others, and could not be gone back to. Only a new best is saved there.

        Returns:
            Whether the weights were not finite, and the run went back to a checkpoint instead.
        """
        if not self._is_save_due or (self._is_last_skipped() and not self._is_best):
            return False
        if name := self._find_non_finite():
            where = f"after step {self.progress.step} the weights are not finite: `{name}` is the first"
            return self._climb(where)
        self._save()
        return False

    def _is_last_skipped(self) -> bool:
        """Whether the last step was skipped, as a checkpoint says where this process took none."""
        if self._metrics is None:
            return self.progress.is_last_skipped
        return bool(self._metrics["is_skipped"])

    def _save(self) -> None:
        """Copies the state and begins to write it."""
        self._saved_at, self._is_save_due = self._place(), False
        self.progress.is_last_skipped = self._is_last_skipped()
        roles = (checkpoint.BEST,) if self._is_best else ()
        self._is_best = False
        if self._writer is None or not self.replicas.is_chief:
            return
        began = time.perf_counter()
        self.callbacks.flush()
        prunes = not self.progress.is_last_skipped
        self._report_saved(self._writer.start(self.progress.step, self._capture(), roles, prunes))
        self._throughput.pause(time.perf_counter() - began)

    def _place(self) -> tuple[int, ...]:
        """What tells one checkpoint of a step from another: before and after the end of an epoch or stage."""
        return self.progress.step, self.progress.stage, self.progress.epoch

    def _finish_saving(self, role: str) -> None:
        """Waits until the last checkpoint is whole and gives it a role."""
        if self._writer is None or not self.replicas.is_chief:
            return
        self._report_saved(self._writer.wait())
        self._writer.give_role(self.progress.step, role)
        if role == checkpoint.FINAL:
            self._writer.drop_role(checkpoint.INTERRUPTED)

    def _report_saved(self, folders: Sequence[pathlib.Path]) -> None:
        for folder in folders:
            step = int(folder.name.removeprefix("step_"))
            self.callbacks.event("checkpoint_saved", path=str(folder), step=step)

    def _save_and_say_where(self) -> str:
        if self._writer is None:
            return "nothing was saved, since the run keeps no checkpoints"
        if name := self._find_non_finite():
            return f"nothing was saved, since the weights are not finite (`{name}`); {self._say_sound()}"
        if self._saved_at != self._place():
            self._save()
        self._finish_saving(checkpoint.INTERRUPTED)
        folder = self._writer.folder(self.progress.step)
        return f"the run is saved in {folder}; go on with train(resume_from={str(folder)!r})"

    def _leave(self) -> None:
        message = f"stopped after step {self.progress.step}; {self._save_and_say_where()}"
        if self._signals.requested == signal.SIGTERM:
            raise SystemExit(message)
        raise KeyboardInterrupt(message)


class StepMetrics(Mapping[str, Any]):
    """What one of a call's steps returned.

    Args:
        results: Of all of them; waited for when they are looked at.
        place: Which of them, or () where the call had one.
    """

    def __init__(self, results: Mapping[str, Any], place: Any) -> None:
        self._results, self._place = results, place

    def __getitem__(self, name: str) -> Any:
        return np.asarray(self._results[name])[self._place]

    def __iter__(self) -> Iterator[str]:
        return iter(self._results)

    def __len__(self) -> int:
        return len(self._results)


def _comparable(loss: float | None) -> float | None:
    """What Keras's callbacks compare: they would take NaN, once it came first, for the lowest for ever."""
    return math.inf if loss is not None and math.isnan(loss) else loss


def _batch_and_documents(data: StageData, view: Any, step: int) -> tuple[Any, list[list[int]]]:
    return data.batch(view, step), data.documents(view, step)


_NOT_LOGGED = ("is_skipped", "skipped_in_a_row", "num_stops", "num_tokens")


def _metric_name(name: str) -> str:
    return name if "/" in name else f"train/{name}"
