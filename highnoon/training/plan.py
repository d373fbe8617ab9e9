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
class PlanChange:
    """One difference between a plan and the one that a run began with.

    Args:
        stage: Of this stage; "" for the whole run.
        key: What differs.
        now: Its value now.
        then: Its value in the checkpoint.
        is_extension: Whether it does no more than lengthen the run.
    """

    stage: str
    key: str
    now: Any
    then: Any
    is_extension: bool = False

    def __str__(self) -> str:
        where = f"stage `{self.stage}`: " if self.stage else ""
        return f"{where}{self.key} is {self.now} now, {self.then} in the checkpoint"


# Options that change nothing of what a run computes, or that the plan's own rows tell.
_FREE_OPTIONS = {
    "learning_rate", "batch_size", "epochs", "warmup_steps", "gradient_accumulation_steps",
    "global_batch_size", "max_seq_length", "validation_split", "learning_rate_scaling", "max_skipped_steps",
    "fault_ladder",
}


def config_changes(now: dict[str, Any], then: dict[str, Any]) -> list[PlanChange]:
    """Returns the options in which a run differs from its checkpoint, but for those that the plan shows."""

    def value(config: dict[str, Any], key: str) -> Any:
        return list(config[key]) if isinstance(config.get(key), tuple) else config.get(key)

    keys = sorted({*now, *then} - _FREE_OPTIONS)
    return [
        PlanChange("", key, value(now, key), value(then, key))
        for key in keys
        if value(now, key) != value(then, key)
    ]


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

    def changes(self, saved: dict[str, Any], extends: bool = False) -> list[PlanChange]:
        """Returns what differs from a saved plan.

        Args:
            saved: `to_dict` of the plan that a run began with.
            extends: Whether the run may become longer: then its warm-up stays as it began.
        """
        ours, changes = self.to_dict(), []
        count, saved_count = len(ours["stages"]), len(saved["stages"])
        if count != saved_count:
            changes.append(PlanChange("", "stages", count, saved_count, is_extension=count > saved_count))
        for now, then in zip(ours["stages"], saved["stages"], strict=False):
            for key, value in now.items():
                if then.get(key) != value:
                    is_longer = key in ("epochs", "steps") and (value or 0) > (then.get(key) or 0)
                    changes.append(PlanChange(now["name"], key, value, then.get(key), is_longer))
        if ours["warmup_steps"] != saved["warmup_steps"]:
            changes.append(
                PlanChange("", "warmup_steps", ours["warmup_steps"], saved["warmup_steps"], extends)
            )
        return changes

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
