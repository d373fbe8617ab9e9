"""One run of a plan: stages, epochs, steps, and what happens between them."""

from __future__ import annotations

import dataclasses
import functools
import itertools
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
from highnoon.data.bad_rows import describe_left_out, left_out
from highnoon.data.streamed_rows import StreamedRows
from highnoon.training import checkpoint
from highnoon.training.averaged_weights import averaged_weights
from highnoon.training.checkpoint_writer import CheckpointWriter
from highnoon.training.mix_shares import MixShares
from highnoon.training.optimizers import FunctionalOptimizer
from highnoon.training.plan import StagePlan, TrainingPlan
from highnoon.training.progress import Progress
from highnoon.training.replicas import Replicas
from highnoon.training.rows_ahead import RowsAhead
from highnoon.training.skipped_steps import SkippedStep, SkippedSteps, TakenStep
from highnoon.training.stage_data import StageData
from highnoon.training.step import TrainStep, computes_in_float16
from highnoon.training.step_state import FaultLimits, StepState
from highnoon.training.stop_signals import StopSignals
from highnoon.training.throughput import Throughput
from highnoon.training.validation import ValidationStep

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
        optimizer: Built; its schedule knows the whole run.
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
        go_back: Restores the newest checkpoint and returns its progress.
        skipped_folder: Where the batches of skipped steps are kept; None keeps none.
        auto_batch: Whether a call of one step, as the first is, that does not fit into memory is tried with
            smaller micro-batches.
        steps_per_execution: Most steps in one call of the device.
        explain_memory: Returns what to say where it does not.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: FunctionalOptimizer,
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
        go_back: Callable[[], Progress],
        skipped_folder: pathlib.Path | None,
        auto_batch: bool,
        steps_per_execution: int,
        explain_memory: Callable[[BaseException], str],
    ) -> None:
        self.model, self.optimizer, self.step_state, self.replicas = model, optimizer, step_state, replicas
        self.stages, self.plan, self.progress = stages, plan, progress
        self.callbacks, self.intervals, self.config = callbacks, intervals, config
        self.jit_compile, self.auto_batch = jit_compile, auto_batch
        self.steps_per_execution = steps_per_execution
        self._writer, self._capture, self._go_back = writer, capture, go_back
        self._explain = explain_memory
        self._steps: dict[int, TrainStep] = {}
        self._step: TrainStep
        self._validate = ValidationStep(model, replicas)
        self._rows = RowsAhead()
        self._skipped = SkippedSteps(skipped_folder)
        self._signals = StopSignals()
        self._throughput = Throughput(model, replicas.count)
        self._mix = MixShares()
        self._logged = (0.0, 0.0)
        self._saved_at: tuple[int, ...] = ()
        self._is_best = False

    def run(self, callback_states: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
        """Runs to the end and returns the summary.

        Args:
            callback_states: What the callbacks of a resumed run remember.

        Raises:
            KeyboardInterrupt: Ctrl-C; the run has been saved.
            SystemExit: SIGTERM; the run has been saved.
            FloatingPointError: too many steps in a row had to be passed over.
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
        schedulers = [data.stage.scheduler for data in self.stages]
        return {
            "progress": dataclasses.asdict(self.progress),
            "schedulers": [scheduler and scheduler.state_dict() for scheduler in schedulers],
            "callbacks": self.callbacks.state(),
        }

    def _read_totals(self) -> None:
        self.progress.loss_total = self.step_state["loss_total"]
        self.progress.token_total = self.step_state["token_total"]

    def _run(self, callback_states: Sequence[dict[str, Any]]) -> dict[str, Any]:
        progress, callbacks = self.progress, self.callbacks
        self.model.stop_training = False
        callbacks.hook("on_train_begin", {})
        callbacks.remember_beginning()
        callbacks.load_state(callback_states)
        callbacks.event(
            "train_begin",
            step=progress.step,
            total_steps=self.plan.total_steps,
            num_parameters=self.model.count_params(),
        )
        while progress.stage < len(self.stages) and not self.model.stop_training:
            self._run_stage(self.stages[progress.stage], self.plan.stages[progress.stage])
        if self._saved_at != self._place():
            self._save()
        self._finish_saving(checkpoint.FINAL)
        summary = {"total_steps": progress.step, "stages_completed": list(progress.stages_completed)}
        callbacks.hook("on_train_end", {})
        callbacks.event("train_end", step=progress.step, summary=summary)
        return summary

    def _run_stage(self, data: StageData, plan: StagePlan) -> None:
        self._step = self._step_for(data.config.batch_size)
        self.step_state.start_epoch(self.progress.loss_total, self.progress.token_total)
        self.callbacks.event("stage_begin", stage=plan.name, step=self.progress.step)
        while not self._stage_is_over(data, plan) and not self.model.stop_training:
            self._run_epoch(data, plan)
        if isinstance(data.train_rows, StreamedRows) and (report := left_out(data.train_rows.source)):
            warnings.warn(f"stage `{plan.name}`: {describe_left_out(report)}", stacklevel=2)
        self._complete_stage(plan)

    def _step_for(self, micro_batch_size: int) -> TrainStep:
        if micro_batch_size not in self._steps:
            self._steps[micro_batch_size] = TrainStep(
                self.model, self.optimizer, micro_batch_size, self.config.gradient_clip, self.jit_compile,
                self.replicas, self.step_state,
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
        self._note_totals()
        view = data.view(progress.epoch, progress.num_allowed)
        num_steps = data.steps_in(view)
        self.callbacks.hook("on_epoch_begin", self._keras_epoch(), {})
        while progress.step_in_epoch < num_steps and not self._epoch_is_cut_short(data, plan):
            self._take_steps(data, plan, view)
            self._between_steps(data, plan, is_last=progress.step_in_epoch == num_steps)
            if self.model.stop_training:
                break
        self._end_epoch(data, plan)

    def _note_totals(self) -> None:
        """Lets the next log point's loss be the mean from here on."""
        self._logged = (self.step_state["loss_total"], self.step_state["token_total"])

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
        if len(plan.mix) > 1:
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
            self.callbacks.event("micro_batch_halved", step=step, micro_batch_size=size // 2)

    def _is_log_point(self, step: int) -> bool:
        return step == 1 or step % self.intervals.log == 0

    def _between_steps(self, data: StageData, plan: StagePlan, is_last: bool) -> None:
        progress, callbacks = self.progress, self.callbacks
        is_log_point = self._is_log_point(progress.step)
        is_evaluated = progress.step % self.intervals.eval == 0 and (data.counts_steps or not is_last)
        is_saved = progress.step % self.intervals.checkpoint == 0
        self._answer_skipped_steps(includes_last=is_log_point or is_evaluated or is_saved)
        callbacks.event("step_end", step=progress.step)
        if callbacks.watches_batches:
            callbacks.batch_hook(
                "on_train_batch_end", progress.step_in_epoch - 1, {"loss": float(self._metrics["loss"])}
            )
        if is_log_point:
            self._log(plan)
        if is_evaluated:
            val_loss = self._evaluate(data, plan)
            if data.counts_steps and val_loss is not None:
                self._tell_scheduler(data, progress.stage_step - 1, val_loss)
        if is_saved or self._is_best:
            self._save()
        elif self._writer is not None:
            self._report_saved(self._writer.finished())
        if self._is_asked_to_stop():
            self._leave()

    def _is_asked_to_stop(self) -> bool:
        """Whether to leave now; of several processes all leave after the same step."""
        if self.replicas.num_workers == 1:
            return self._signals.requested is not None
        return bool(self._metrics["num_stops"] > 0)

    def _answer_skipped_steps(self, includes_last: bool) -> None:
        """Reports steps that were passed over; where they are too many in a row, climbs the fault ladder."""
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
                self._climb(step)
                return

    def _climb(self, skipped: SkippedStep) -> None:
        progress, ladder = self.progress, self.config.fault_ladder
        rung = ladder[progress.num_fault_answers] if progress.num_fault_answers < len(ladder) else "stop"
        where = f"{skipped.in_a_row} steps in a row up to step {skipped.step} were passed over: the loss is "
        where += f"{skipped.loss:g} and the gradient's norm {skipped.grad_norm:g}"
        if rung == "stop" or (rung == "go_back" and self._writer is None):
            kept = f"; the batches are kept in {skipped.path.parent}" if skipped.path else ""
            raise FloatingPointError(
                f"{where}{kept}. Lower `learning_rate`, keep `gradient_clip`, and look at these batches; "
                "checkpoints are untouched"
            )
        if rung == "cut_learning_rate":
            factor = self.optimizer.learning_rate_factor
            factor.assign(0.5 * factor)
        else:
            self._go_back_past_here()
        self.progress.num_fault_answers += 1
        self.step_state.forgive()
        self._skipped.forget()
        factor = float(self.optimizer.learning_rate_factor)
        self.callbacks.event(
            "fault_answered", answer=rung, reason=where, step=self.progress.step, learning_rate_factor=factor
        )

    def _go_back_past_here(self) -> None:
        """Takes weights, slots and the count of steps from the newest checkpoint, but goes on with the data
        after the batch that was read last."""
        assert self._writer is not None
        self._report_saved(self._writer.wait())
        self.replicas.wait_for_all()
        here, saved = self.progress, self._go_back()
        steps_back = here.step - saved.step
        here.step = saved.step
        here.stage_step = max(0, here.stage_step - steps_back)
        here.note_span()
        self._note_totals()

    def _log(self, plan: StagePlan) -> None:
        """Reads metrics from the device: the mean loss since the last log point, the rest of this step."""
        before, now = self._logged, (self.step_state["loss_total"], self.step_state["token_total"])
        self._logged = now
        num_tokens = now[1] - before[1]
        # Where every step was passed over, the last one's loss says why.
        loss = (now[0] - before[0]) / num_tokens if num_tokens else float(self._metrics["loss"])
        metrics = {
            _metric_name(name): float(value)
            for name, value in self._metrics.items()
            if name not in _NOT_LOGGED
        }
        metrics |= {"train/loss": loss, "train/skipped_steps": float(self.step_state["skipped"])}
        metrics |= self._throughput.report()
        metrics |= self._mix.report([part["name"] for part in plan.mix])
        self.callbacks.event("log", stage=plan.name, step=self.progress.step, metrics=metrics)

    def _evaluate(self, data: StageData, plan: StagePlan) -> float | None:
        """Returns the held-out loss in nats a token, or None where nothing is held out."""
        if data.validation_rows is None:
            return None
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
        lowest = self.progress.lowest_val_loss
        if lowest is None or split.loss < lowest:
            self.progress.lowest_val_loss = split.loss
            self._is_best = True
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
        logs = {"loss": progress.train_loss} | ({} if val_loss is None else {"val_loss": val_loss})
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

        if self._is_best:
            self._save()

    def _tell_scheduler(self, data: StageData, when: int, loss: float | None) -> None:
        """Lets an adaptive scheduler see a loss."""
        if loss is not None and hasattr(data.stage.scheduler, "update_with_loss"):
            data.stage.scheduler.update_with_loss(epoch=when, current_loss=loss)

    def _keras_epoch(self) -> int:
        """Epochs of the whole run before this one, the number that Keras's hooks expect."""
        return sum(stage["epochs"] for stage in self.progress.stages_completed) + self.progress.epoch

    def _save(self, *roles: str) -> None:
        """Copies the state and begins to write it."""
        self._saved_at = self._place()
        if self._is_best:
            roles, self._is_best = (*roles, checkpoint.BEST), False
        if self._writer is None or not self.replicas.is_chief:
            return
        began = time.perf_counter()
        self.callbacks.flush()
        self._report_saved(self._writer.start(self.progress.step, self._capture(), roles))
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


def _batch_and_documents(data: StageData, view: Any, step: int) -> tuple[Any, list[list[int]]]:
    return data.batch(view, step), data.documents(view, step)


_NOT_LOGGED = ("is_skipped", "skipped_in_a_row", "num_stops", "num_tokens")


def _metric_name(name: str) -> str:
    return name if "/" in name else f"train/{name}"
