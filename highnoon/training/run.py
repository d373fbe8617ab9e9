"""One run of a plan: stages, epochs, steps, and what happens between them."""

from __future__ import annotations

import dataclasses
import math
import pathlib
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from highnoon.callbacks import CallbackGroup
from highnoon.callbacks.callback_group import CallbackFailed
from highnoon.training.plan import StagePlan, TrainingPlan
from highnoon.training.progress import Progress
from highnoon.training.stage_data import StageData
from highnoon.training.step import TrainStep
from highnoon.training.stop_signals import StopSignals
from highnoon.training.throughput import Throughput
from highnoon.training.validation import ValidationStep

PERIODIC_VALIDATION_TOKENS = 2**18


@dataclasses.dataclass(frozen=True)
class Intervals:
    """Optimizer steps between log points, evaluations and checkpoints."""

    log: int
    eval: int
    checkpoint: int


class TrainingRun:
    """Takes a run from where its progress stands to its end.

    Everything that decides what comes next is in `progress` and the schedulers, so a run that is stopped
    after any step and continued from its checkpoint takes the same steps as one that is not.

    Args:
        model: The model.
        optimizer: Built; its schedule knows the whole run.
        stages: Data of each stage.
        plan: The plan made from them.
        progress: Where to begin; moved along.
        callbacks: Who watches.
        intervals: When to log, evaluate and save.
        gradient_clip: Largest gradient norm, or None.
        jit_compile: Whether XLA compiles the forward and backward pass, see `TrainStep`.
        save_checkpoint: Writes the run's state into a checkpoint and returns its folder; None saves nothing.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        stages: Sequence[StageData],
        plan: TrainingPlan,
        progress: Progress,
        callbacks: CallbackGroup,
        intervals: Intervals,
        gradient_clip: float | None,
        jit_compile: bool | None,
        save_checkpoint: Callable[[], pathlib.Path] | None,
    ) -> None:
        self.model, self.optimizer = model, optimizer
        self.stages, self.plan, self.progress = stages, plan, progress
        self.callbacks, self.intervals = callbacks, intervals
        self.gradient_clip, self.jit_compile = gradient_clip, jit_compile
        self.save_checkpoint = save_checkpoint
        self._steps: dict[int, TrainStep] = {}
        self._step: TrainStep | None = None
        self._validate = ValidationStep(model)
        self._signals = StopSignals()
        self._throughput = Throughput()
        self._logged = (0.0, 0.0)
        self._saved_at = -1

    def run(self, callback_states: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
        """Runs to the end and returns the summary.

        Args:
            callback_states: What the callbacks of a resumed run remember.

        Raises:
            KeyboardInterrupt: Ctrl-C; the run has been saved.
            SystemExit: SIGTERM; the run has been saved.
            FloatingPointError: the loss is not finite.
            Exception: whatever a callback raised; the run has been saved.
        """
        try:
            with self._signals:
                return self._run(callback_states)
        except CallbackFailed as failure:
            error = failure.__cause__
            assert error is not None
            error.add_note(
                f"a callback raised this after step {self.progress.step}; {self._save_and_say_where()}"
            )
            raise error from None
        finally:
            self.callbacks.close()

    def state(self) -> dict[str, Any]:
        """Returns what a checkpoint keeps of the run besides arrays, as JSON values."""
        if self._step is not None:
            self.progress.loss_total = float(self._step.loss_total.numpy())
            self.progress.token_total = float(self._step.token_total.numpy())
        schedulers = [data.stage.scheduler for data in self.stages]
        return {
            "progress": dataclasses.asdict(self.progress),
            "schedulers": [scheduler and scheduler.state_dict() for scheduler in schedulers],
            "callbacks": self.callbacks.state(),
        }

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
        if self._saved_at != progress.step:
            self._save()
        summary = {"total_steps": progress.step, "stages_completed": list(progress.stages_completed)}
        callbacks.hook("on_train_end", {})
        callbacks.event("train_end", step=progress.step, summary=summary)
        return summary

    def _run_stage(self, data: StageData, plan: StagePlan) -> None:
        self._step = self._step_for(data.config.batch_size)
        self._step.reset_totals(self.progress.loss_total, self.progress.token_total)
        self.callbacks.event("stage_begin", stage=plan.name, step=self.progress.step)
        while not self._stage_is_over(data, plan) and not self.model.stop_training:
            self._run_epoch(data, plan)
        self._complete_stage(plan)

    def _step_for(self, micro_batch_size: int) -> TrainStep:
        if micro_batch_size not in self._steps:
            self._steps[micro_batch_size] = TrainStep(
                self.model, self.optimizer, micro_batch_size, self.gradient_clip, self.jit_compile
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
        assert self._step is not None
        if not progress.num_allowed:
            progress.start_epoch(data.num_allowed(progress.epoch, progress.stage_step))
            self._step.reset_totals()
        self._logged = (self._step.loss_total.numpy(), self._step.token_total.numpy())
        view = data.view(progress.epoch, progress.num_allowed)
        num_steps = data.steps_in(view)
        self.callbacks.hook("on_epoch_begin", self._keras_epoch(), {})
        while progress.step_in_epoch < num_steps and not self._epoch_is_cut_short(data, plan):
            self._take_step(data, plan, view)
            self._between_steps(data, plan, is_last=progress.step_in_epoch == num_steps)
            if self.model.stop_training:
                break
        self._end_epoch(data, plan)

    def _epoch_is_cut_short(self, data: StageData, plan: StagePlan) -> bool:
        """Whether the stage's steps are used up, or its scheduler, counting steps, now allows others."""
        progress = self.progress
        if plan.epochs is None and progress.stage_step >= plan.steps:
            return True
        if not data.counts_steps:
            return False
        return data.num_allowed(progress.epoch, progress.stage_step) != progress.num_allowed

    def _take_step(self, data: StageData, plan: StagePlan, view: Any) -> None:
        progress = self.progress
        assert self._step is not None
        self.callbacks.batch_hook("on_train_batch_begin", progress.step_in_epoch, {})
        began = time.perf_counter()
        batch = data.batch(view, progress.step_in_epoch)
        waited = time.perf_counter() - began
        self._metrics = self._step(batch, plan.loss_weight)
        self._throughput.add(float(np.count_nonzero(batch["segment_ids"])), waited)
        progress.step += 1
        progress.stage_step += 1
        progress.step_in_epoch += 1

    def _between_steps(self, data: StageData, plan: StagePlan, is_last: bool) -> None:
        progress, callbacks = self.progress, self.callbacks
        callbacks.event("step_end", step=progress.step)
        if callbacks.watches_batches:
            callbacks.batch_hook(
                "on_train_batch_end", progress.step_in_epoch - 1, {"loss": float(self._metrics["loss"])}
            )
        if progress.step == 1 or progress.step % self.intervals.log == 0:
            self._log(plan)
        if progress.step % self.intervals.eval == 0 and (data.counts_steps or not is_last):
            val_loss = self._evaluate(data, plan)
            if data.counts_steps and val_loss is not None:
                self._tell_scheduler(data, progress.stage_step - 1, val_loss)
        if progress.step % self.intervals.checkpoint == 0:
            self._save()
        if self._signals.requested is not None:
            self._leave()

    def _log(self, plan: StagePlan) -> None:
        """Reads metrics from the device: the mean loss since the last log point, the rest of this step."""
        assert self._step is not None
        totals = (self._step.loss_total.numpy(), self._step.token_total.numpy())
        loss = (totals[0] - self._logged[0]) / max(totals[1] - self._logged[1], 1.0)
        self._logged = totals
        self._require_finite(loss)
        metrics = {_metric_name(name): float(value) for name, value in self._metrics.items()}
        metrics |= {"train/loss": float(loss), **self._throughput.report()}
        self.callbacks.event("log", stage=plan.name, step=self.progress.step, metrics=metrics)

    def _require_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss} at step {self.progress.step}; lower `learning_rate`, keep "
                "`gradient_clip`, and look at the data of this stage; earlier checkpoints are untouched"
            )

    def _evaluate(self, data: StageData, plan: StagePlan) -> float | None:
        """Returns the held-out loss in nats a token, or None where nothing is held out."""
        if data.validation_rows is None:
            return None
        began = time.perf_counter()
        self.callbacks.hook("on_test_begin", {})
        split = self._validate(data.validation_batches(PERIODIC_VALIDATION_TOKENS))
        self.callbacks.hook("on_test_end", {"loss": split.loss})
        metrics = {"val/loss": split.loss, "val/perplexity": split.perplexity}
        self.callbacks.event("evaluation", stage=plan.name, step=self.progress.step, metrics=metrics)
        self._throughput.pause(time.perf_counter() - began)
        return split.loss

    def _end_epoch(self, data: StageData, plan: StagePlan) -> None:
        progress = self.progress
        assert self._step is not None
        progress.loss_total = float(self._step.loss_total.numpy())
        progress.token_total = float(self._step.token_total.numpy())
        self._require_finite(progress.loss_total)
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

    def _tell_scheduler(self, data: StageData, when: int, loss: float | None) -> None:
        """Lets an adaptive scheduler see a loss."""
        if loss is not None and hasattr(data.stage.scheduler, "update_with_loss"):
            data.stage.scheduler.update_with_loss(epoch=when, current_loss=loss)

    def _keras_epoch(self) -> int:
        """Epochs of the whole run before this one, the number that Keras's hooks expect."""
        return sum(stage["epochs"] for stage in self.progress.stages_completed) + self.progress.epoch

    def _save(self) -> None:
        if self.save_checkpoint is None:
            return
        if self._step is not None:
            self._require_finite(float(self._step.loss_total.numpy()))
        began = time.perf_counter()
        folder = self.save_checkpoint()
        self._saved_at = self.progress.step
        self.callbacks.event("checkpoint_saved", path=str(folder), step=self.progress.step)
        self._throughput.pause(time.perf_counter() - began)

    def _save_and_say_where(self) -> str:
        if self.save_checkpoint is None:
            return "nothing was saved, since the run keeps no checkpoints"
        folder = self.save_checkpoint()
        return f"the run is saved in {folder}; go on with train(resume_from={str(folder)!r})"

    def _leave(self) -> None:
        message = f"stopped after step {self.progress.step}; {self._save_and_say_where()}"
        if self._signals.requested == signal.SIGTERM:
            raise SystemExit(message)
        raise KeyboardInterrupt(message)


def _metric_name(name: str) -> str:
    return name if "/" in name else f"train/{name}"
