"""What a run will do, stage by stage, known before its first step."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from highnoon.config import TrainingConfig
from highnoon.training.stage_data import StageData

MAX_AUTOMATIC_WARMUP_STEPS = 1000


@dataclasses.dataclass(frozen=True)
class StagePlan:
    """One row of the plan.

    Args:
        name: Stage.
        datasets: Names of its datasets.
        documents: Training documents.
        validation_documents: Documents held out.
        tokens: Training tokens in one pass.
        rows: Rows in one pass.
        row_length: Tokens a row.
        rows_per_step: Rows in one optimizer step (micro-batch x accumulation).
        epochs: Passes, or None where the length is given in steps.
        steps: Optimizer steps; an upper bound where `is_upper_bound`.
        is_upper_bound: Whether the loss decides how many of the steps are taken.
        learning_rate: Peak.
        loss_weight: Factor on the loss.
        order: What decides which documents come when.
        data_key: Hash of the tokenised data.
    """

    name: str
    datasets: list[str]
    documents: int
    validation_documents: int
    tokens: int
    rows: int
    row_length: int
    rows_per_step: int
    epochs: int | None
    steps: int
    is_upper_bound: bool
    learning_rate: float
    loss_weight: float
    order: str
    data_key: str


@dataclasses.dataclass(frozen=True)
class TrainingPlan:
    """All stages of a run and the schedule over them.

    Args:
        stages: In the order in which they run.
        warmup_steps: Steps of linear warm-up at the run's start.
        notes: What a person should know before the run, a line each.
    """

    stages: list[StagePlan]
    warmup_steps: int
    notes: list[str] = dataclasses.field(default_factory=list)

    @property
    def total_steps(self) -> int:
        return sum(stage.steps for stage in self.stages)

    @property
    def stage_ends(self) -> list[int]:
        ends, total = [], 0
        for stage in self.stages:
            total += stage.steps
            ends.append(total)
        return ends

    def to_dict(self) -> dict[str, Any]:
        return {
            "stages": [dataclasses.asdict(stage) for stage in self.stages],
            "warmup_steps": self.warmup_steps,
        }

    def differences(self, saved: dict[str, Any]) -> list[str]:
        """Returns what differs from a saved plan, a line each."""
        ours, lines = self.to_dict(), []
        if len(ours["stages"]) != len(saved["stages"]):
            lines.append(f"{len(ours['stages'])} stages now, {len(saved['stages'])} in the checkpoint")
        for now, then in zip(ours["stages"], saved["stages"], strict=False):
            for key, value in now.items():
                if then.get(key) != value:
                    lines.append(
                        f"stage `{now['name']}`: {key} is {value} now, {then.get(key)} in the checkpoint"
                    )
        if ours["warmup_steps"] != saved["warmup_steps"]:
            lines.append(
                f"warmup_steps is {ours['warmup_steps']} now, {saved['warmup_steps']} in the checkpoint"
            )
        return lines

    def __str__(self) -> str:
        header = (
            "stage",
            "data",
            "documents",
            "tokens",
            "rows",
            "epochs",
            "steps",
            "batch",
            "peak lr",
            "order",
        )
        lines = [header, *(_cells(stage) for stage in self.stages)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
        table = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines
        ]
        total = f"{self.total_steps:,} steps in all, warm-up {self.warmup_steps:,}"
        return "\n".join([*(line.rstrip() for line in table), total, *self.notes])


def _cells(stage: StagePlan) -> tuple[str, ...]:
    return (
        stage.name,
        " + ".join(stage.datasets),
        f"{stage.documents:,} (+{stage.validation_documents:,} held out)",
        f"{stage.tokens:,}",
        f"{stage.rows:,} x {stage.row_length}",
        "-" if stage.epochs is None else str(stage.epochs),
        f"{'at most ' if stage.is_upper_bound else ''}{stage.steps:,}",
        str(stage.rows_per_step),
        f"{stage.learning_rate:g}",
        stage.order,
    )


def make_plan(
    stages: Sequence[StageData],
    config: TrainingConfig,
    epochs_per_stage: int,
    weight_mode: str,
    notes: Sequence[str] = (),
) -> TrainingPlan:
    """Returns the plan of a run over prepared stages."""
    rows = [_plan_stage(data, epochs_per_stage, weight_mode) for data in stages]
    total = sum(row.steps for row in rows)
    warmup = min(MAX_AUTOMATIC_WARMUP_STEPS, total // 10)
    notes = list(notes)
    if config.warmup_steps is not None and config.warmup_steps < total:
        warmup = config.warmup_steps
    elif config.warmup_steps is not None:
        notes.append(
            f"note: a warm-up of {config.warmup_steps:,} steps would outlast the run's {total:,}; "
            f"it is cut to a tenth of the run, {warmup:,} steps"
        )
    return TrainingPlan(rows, warmup, [*notes, *_notes_on(stages, rows, epochs_per_stage, weight_mode)])


def _plan_stage(data: StageData, epochs_per_stage: int, weight_mode: str) -> StagePlan:
    stage, report = data.stage, data.train_rows.report()
    epochs = None if stage.steps is not None else stage.epochs or epochs_per_stage
    names = stage.to_dict()["datasets"]
    by_rate = weight_mode == "learning_rate"
    return StagePlan(
        name=stage.name,
        datasets=names,
        documents=data.train_rows.num_documents,
        validation_documents=data.validation_rows.num_documents if data.validation_rows is not None else 0,
        tokens=data.train_rows.num_tokens,
        rows=report["rows"],
        row_length=data.config.max_seq_length,
        rows_per_step=data.rows_per_step,
        epochs=epochs,
        steps=data.planned_steps(epochs or 1),
        is_upper_bound=hasattr(stage.scheduler, "update_with_loss") and stage.steps is None,
        learning_rate=data.config.learning_rate * (stage.weight if by_rate else 1.0),
        loss_weight=1.0 if by_rate else stage.weight,
        order="shuffled" if stage.scheduler is None else f"{stage.scheduler.strategy}, then shuffled",
        data_key=data.data_key,
    )


def _notes_on(
    stages: Sequence[StageData], rows: Sequence[StagePlan], epochs_per_stage: int, weight_mode: str
) -> list[str]:
    notes = []
    for data, row in zip(stages, rows, strict=True):
        if row.validation_documents == 0:
            notes.append(f"note: stage `{row.name}` has no held-out document; early stopping is off for it")
        if row.loss_weight != 1.0 and weight_mode == "loss":
            notes.append(
                f"note: stage `{row.name}` weighs {row.loss_weight:g}; AdamW nearly cancels a factor on the "
                'loss, Trainer(weight_mode="learning_rate") makes it act'
            )
        needed = getattr(data.stage.scheduler, "epochs_to_full_data", None)
        length = row.steps if data.counts_steps else row.epochs or epochs_per_stage
        if needed is not None and needed() > length:
            notes.append(
                f"note: the scheduler of stage `{row.name}` reaches its whole data after {needed()} "
                f"{'steps' if data.counts_steps else 'epochs'}, the stage has {length}"
            )
    return notes
