"""A run between two steps: where it is, and what its parts read and change."""

from __future__ import annotations

import dataclasses
import pathlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from highnoon.callbacks import CallbackGroup
from highnoon.config import TrainingConfig
from highnoon.training.evaluators import Evaluator
from highnoon.training.learner import Learner
from highnoon.training.plans.mix_fractions import MixFractions
from highnoon.training.plans.plan import TrainingPlan
from highnoon.training.plans.stage_data import StageData
from highnoon.training.preflight.preflight import Preflight
from highnoon.training.runs.progress import Progress
from highnoon.training.runs.running_figures import RunningFigures
from highnoon.training.runs.task_loss_sums import TaskLossSums
from highnoon.training.runs.throughput import Throughput
from highnoon.training.runs.trained_weights import TrainedWeights


@dataclasses.dataclass(frozen=True)
class Intervals:
    """Optimizer steps between log points, evaluations and checkpoints."""

    log: int
    eval: int
    checkpoint: int


@dataclasses.dataclass(frozen=True)
class EvaluationLimits:
    """How much of the held-out data an evaluation during the run reads.

    Args:
        validation_steps: Batches at most; None for about 2^18 tokens.
        validation_batch_size: Rows of one replica in a batch; None for `batch_size`.
    """

    validation_steps: int | None = None
    validation_batch_size: int | None = None


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """What decides when a run does what.

    Args:
        config: The run's configuration.
        run_id: Names the run in its events; the same after a resume.
        intervals: When to log, evaluate and save.
        steps_per_execution: Most steps in one call of the device.
        skipped_folder: Where the batches of skipped steps are written; None writes none.
        memory: What the run was found to need; explains a step that does not fit. None says no figures.
        evaluators: Compute further figures at evaluations.
        limits: How much an evaluation reads.
        run_name: What the user calls the run; None for nothing.
        log_folder: Where its logs are; None for nowhere.
        running: Averages the latest steps for a progress bar; None where nobody looks.
    """

    config: TrainingConfig
    run_id: str
    intervals: Intervals
    steps_per_execution: int = 1
    skipped_folder: pathlib.Path | None = None
    memory: Preflight | None = None
    evaluators: Sequence[Evaluator] = ()
    limits: EvaluationLimits = EvaluationLimits()
    run_name: str | None = None
    log_folder: pathlib.Path | None = None
    running: RunningFigures | None = None


class RunState:
    """A run between two steps.

    Args:
        learner: Model, optimizer and step state.
        stages: Data of each stage.
        plan: The plan made from them.
        progress: Where the run is; moved along.
        callbacks: Who watches.
        settings: What decides when the run does what.

    Attributes:
        metrics: What the last step returned; None before a step.
        mix: Rows of each dataset since the last log point.
        task_losses: The loss of each task since the last log point.
        throughput: Tokens and waiting since the last log point.
        trained: The weights that training would continue with, once the run's end gave the model others.
    """

    def __init__(
        self,
        learner: Learner,
        stages: Sequence[StageData],
        plan: TrainingPlan,
        progress: Progress,
        callbacks: CallbackGroup,
        settings: RunSettings,
    ) -> None:
        self.learner, self.stages, self.plan, self.progress = learner, stages, plan, progress
        self.callbacks, self.settings = callbacks, settings
        self.model = learner.model
        self.metrics: Mapping[str, Any] | None = None
        self.mix = MixFractions(())
        self.task_losses = TaskLossSums()
        self.throughput = Throughput(self.model, learner.replicas.count)
        self.trained: TrainedWeights | None = None
        self._began = time.perf_counter()

    def pause(self, seconds: float) -> None:
        """Leaves time that an evaluation or a checkpoint took out of the tokens per second."""
        self.throughput.pause(seconds)
        if self.settings.running is not None:
            self.settings.running.pause(seconds)

    def seconds(self) -> float:
        """Returns how long this process has worked on the run."""
        return time.perf_counter() - self._began

    def to_dict(self) -> dict[str, Any]:
        """Returns what a checkpoint stores of the run besides arrays, as JSON values."""
        self.read_totals()
        self.progress.mix_rows, self.progress.task_sums = self.mix.rows, self.task_losses.sums
        schedulers = [data.stage.scheduler for data in self.stages]
        return {
            "progress": dataclasses.asdict(self.progress),
            "schedulers": [scheduler and scheduler.state_dict() for scheduler in schedulers],
            "callbacks": self.callbacks.state(),
        }

    def trained_weights(self) -> dict[str, np.ndarray]:
        """Returns the weights from which training would continue, where the model's are others by now."""
        return {} if self.trained is None else self.trained.arrays()

    def read_totals(self) -> None:
        """Reads the sums of the epoch from the device."""
        self.progress.loss_total = self.learner.state["loss_total"]
        self.progress.token_total = self.learner.state["token_total"]

    def note_totals(self) -> None:
        """Lets the next log point's loss be the mean from here on."""
        self.progress.logged = [self.learner.state["loss_total"], self.learner.state["token_total"]]

    def is_log_point(self, step: int) -> bool:
        """Whether metrics are logged after a step."""
        return step == 1 or step % self.settings.intervals.log == 0

    def is_last_step_skipped(self) -> bool:
        """Whether the last step was skipped, as a checkpoint says where this process took none."""
        if self.metrics is None:
            return self.progress.is_last_skipped
        return bool(self.metrics["is_skipped"])

    def has_updated(self) -> bool:
        """Whether a step of the run, or of the part of it before a resume, was applied."""
        return self.learner.state["skipped"] < self.progress.step

    def align_schedule(self, data: StageData, num_steps: int) -> None:
        """Tells the schedule at which planned step the epoch began, and how many each of its steps counts."""
        progress, plan = self.progress, self.plan.stages[self.progress.stage]
        stage_start = sum(stage.steps for stage in self.plan.stages[: progress.stage])
        position, pace = data.planned_epoch(
            plan.epochs or 1, progress.epoch, progress.stage_step - progress.step_in_epoch, num_steps
        )
        self.learner.schedule.align(progress.step - progress.step_in_epoch, stage_start + position, pace)


class StepMetrics(Mapping[str, Any]):
    """What one of a call's steps returned.

    Args:
        results: Of all of them; waited for when they are looked at.
        index: Which of them, or () where the call had one.
    """

    def __init__(self, results: Mapping[str, Any], index: Any) -> None:
        self._results, self._index = results, index

    def __getitem__(self, name: str) -> Any:
        return np.asarray(self._results[name])[self._index]

    def __iter__(self) -> Iterator[str]:
        return iter(self._results)

    def __len__(self) -> int:
        return len(self._results)
