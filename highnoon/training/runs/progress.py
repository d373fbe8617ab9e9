"""The position of a run: everything that a checkpoint stores besides arrays."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from highnoon.training.runs.history import drop_beyond, new_history

if TYPE_CHECKING:
    from highnoon.training.plans.stage_plan import StagePlan


@dataclasses.dataclass
class Progress:
    """A run's position, as plain JSON values.

    Args:
        step: Optimizer steps taken.
        stage: Index of the current stage; the number of stages once the run is complete.
        epoch: Epochs of the stage that are complete.
        step_in_epoch: Steps taken in the current epoch.
        stage_step: Steps taken in the current stage.
        num_allowed: Documents that the stage's scheduler allowed when the epoch began; 0 between epochs.
        loss_total: Nats summed over the current epoch.
        token_total: Supervised tokens of the current epoch.
        tokens_seen: Supervised tokens of the complete epochs of the run.
        train_loss: Mean loss of the stage's last complete epoch.
        best_val_loss: Lowest validation loss at an epoch's end in this stage.
        epochs_without_improvement: Since that best.
        lowest_val_loss: Lowest validation loss at any evaluation on `lowest_val_data`: the best checkpoint's.
        lowest_val_step: The step of that evaluation.
        lowest_val_data: Which held-out data it was measured on; losses on other data cannot be compared.
        lowest_bits_per_byte: Bits per byte of that evaluation, where they are known.
        evaluated_step: The step of the stage's last evaluation.
        evaluated_loss: What that evaluation found.
        evaluated_figures: All of its figures, as `val/NAME`.
        logged: `loss_total` and `token_total` at the epoch's last log point.
        mix_rows: Rows of each dataset of the stage since the last log point.
        task_sums: The loss of each task of the stage since the last log point, and then the weight of each.
        is_last_skipped: Whether the last step before the checkpoint was skipped.
        micro_batch_size: Rows of a micro-batch, where memory forced the stage to halve them; else 0.
        num_fault_answers: How many of `on_repeated_faults` were done.
        stages_completed: A summary of each ended stage.
        ended_with: Which weights the model had when the run ended, see `Trainer.train`; None before.
        spans: What was consumed: for each epoch and, after going back to a checkpoint, each part of one,
            `(first step of the run, stage, epoch, documents allowed, first step within the epoch)`.
        history: The figures of each epoch, see `highnoon.training.runs.history`.
    """

    step: int = 0
    stage: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    stage_step: int = 0
    num_allowed: int = 0
    loss_total: float = 0.0
    token_total: float = 0.0
    tokens_seen: float = 0.0
    train_loss: float | None = None
    val_loss: float | None = None
    best_val_loss: float | None = None
    epochs_without_improvement: int = 0
    lowest_val_loss: float | None = None
    lowest_val_step: int | None = None
    lowest_val_data: str | None = None
    lowest_bits_per_byte: float | None = None
    evaluated_step: int | None = None
    evaluated_loss: float | None = None
    evaluated_figures: dict[str, float] = dataclasses.field(default_factory=dict)
    logged: list[float] | None = None
    mix_rows: list[int] = dataclasses.field(default_factory=list)
    task_sums: list[float] = dataclasses.field(default_factory=list)
    is_last_skipped: bool = False
    micro_batch_size: int = 0
    num_fault_answers: int = 0
    stages_completed: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    ended_with: str | None = None
    spans: list[list[int]] = dataclasses.field(default_factory=list)
    history: dict[str, list[Any]] = dataclasses.field(default_factory=new_history)

    def start_stage(self, index: int) -> None:
        """Moves to the beginning of a stage and resets everything that was counted in the stage before."""
        self.stage = index
        self.epoch = self.stage_step = self.epochs_without_improvement = self.micro_batch_size = 0
        self.start_epoch(0)
        self.train_loss = self.val_loss = self.best_val_loss = None
        self.forget_evaluation()
        self.mix_rows, self.task_sums = [], []

    def start_epoch(self, num_allowed: int) -> None:
        self.num_allowed = num_allowed
        self.step_in_epoch = 0
        self.loss_total = self.token_total = 0.0
        self.logged = [0.0, 0.0]

    def note_span(self) -> None:
        """Notes what the steps from the next one on consume."""
        self.spans = [span for span in self.spans if span[0] <= self.step]
        span = [self.step + 1, self.stage, self.epoch, self.num_allowed, self.step_in_epoch]
        self.spans.append(span)

    def end_epoch(self) -> None:
        """Counts the epoch and stores its mean loss."""
        self.epoch += 1
        self.num_allowed = 0
        # Without a supervised token, or where every step was skipped, there is no mean.
        self.train_loss = self.loss_total / self.token_total if self.token_total else math.nan
        self.tokens_seen += self.token_total

    def ended_early(self, last_stage: StagePlan, num_stages: int) -> bool:
        """Whether the run is over, and its last stage has steps or epochs left."""
        if self.stage < num_stages or not self.stages_completed:
            return False
        summary = self.stages_completed[-1]
        if last_stage.epochs is None:
            return bool(summary["steps"] < last_stage.steps)
        return bool(summary["epochs"] < last_stage.epochs)

    def reopen_last_stage(self) -> None:
        """Goes back to the end of the last stage, so that it can be given more epochs or steps."""
        summary = self.stages_completed.pop()
        self.stage -= 1
        self.epoch, self.stage_step = summary["epochs"], summary["steps"]
        self.train_loss, self.val_loss = summary["final_loss"], summary["val_loss"]
        self.best_val_loss = self.val_loss

    def record_val_loss(self, val_loss: float, min_delta: float) -> None:
        """Compares an epoch's validation loss with the stage's best; one that is not finite is no best."""
        self.val_loss = val_loss
        if is_lower(val_loss, self.best_val_loss, min_delta):
            self.best_val_loss = val_loss
            self.epochs_without_improvement = 0
        else:
            self.epochs_without_improvement += 1

    def record_evaluation(self, val_loss: float, figures: dict[str, float]) -> None:
        """Notes that this step was evaluated."""
        self.evaluated_step, self.evaluated_loss, self.evaluated_figures = self.step, val_loss, figures

    def forget_evaluation(self) -> None:
        """Lets the next evaluation be of other weights or data than the last."""
        self.evaluated_step = self.evaluated_loss = None
        self.evaluated_figures = {}

    def record_lowest(self, val_loss: float, data: str, bits_per_byte: float | None = None) -> bool:
        """Compares an evaluation with the lowest on the same data; returns whether it is a new lowest."""
        is_other_data = self.lowest_val_data not in (None, data)
        if not is_lower(val_loss, None if is_other_data else self.lowest_val_loss):
            return False
        self.lowest_val_loss, self.lowest_val_step, self.lowest_val_data = val_loss, self.step, data
        self.lowest_bits_per_byte = bits_per_byte
        return True

    def go_back_to(self, saved: Progress) -> None:
        """Takes the count of steps, and the best of them, from a checkpoint; the data continues from here."""
        self.stage_step = max(0, self.stage_step - (self.step - saved.step))
        self.step = saved.step
        if self.lowest_val_step is not None and self.lowest_val_step > saved.step:
            self.lowest_val_loss, self.lowest_val_step = saved.lowest_val_loss, saved.lowest_val_step
            self.lowest_val_data = saved.lowest_val_data
            self.lowest_bits_per_byte = saved.lowest_bits_per_byte
        drop_beyond(self.history, saved.step)
        self.forget_evaluation()
        self.is_last_skipped = False


def is_lower(loss: float, than: float | None, min_delta: float = 0.0) -> bool:
    """Whether a loss is below another by more than `min_delta`; one that is not finite never is."""
    if not math.isfinite(loss):
        return False
    return than is None or not math.isfinite(than) or loss < than - min_delta
