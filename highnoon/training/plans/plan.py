"""What a run will do, stage by stage, known before its first step."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from highnoon.config import MAX_COUNT, ConfigError, TrainingConfig, is_given
from highnoon.config.optimizer_choice import is_of_keras, optimizer_name
from highnoon.data.bad_records import describe_left_out
from highnoon.training.frozen_models import frozen_hashes
from highnoon.training.objective import describe_objective
from highnoon.training.plans.plan_changes import PlanChange
from highnoon.training.plans.plan_table import format_plan, plan_as_html, plan_as_markdown
from highnoon.training.plans.stage_data import STREAM_KEY, PlannedSpan, StageData
from highnoon.training.plans.stage_plan import StagePlan

# What plans of older versions mean, which do not say it.
_BEFORE: dict[str, Any] = {"objective": {"name": "next_token"}, "frozen_models": {}, "trainable": None}

# Derived from the other fields, or from the machine.
_DERIVED = ("timeline", "least_seconds")
# A stream is as long as its stage's steps require.
_DERIVED_OF_STREAMS = (*_DERIVED, "documents", "tokens", "rows", "mix")


@dataclasses.dataclass(frozen=True)
class TrainingPlan:
    """All stages of a run and the schedule over them.

    Args:
        stages: In the order in which they run.
        warmup_steps: Steps of linear warm-up at the run's start.
        notes: What the user should know before the run, a line each.

    Raises:
        ConfigError: more steps in all than 64 bits hold.
    """

    stages: list[StagePlan]
    warmup_steps: int
    notes: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        if self.total_steps > MAX_COUNT:
            raise ConfigError(
                f"a run must have at most {MAX_COUNT:,} optimizer steps in all; received "
                f"{self.total_steps:,}; lower `epochs`, `steps` or `tokens`"
            )

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
        """Returns the plan as JSON values."""
        return {
            "stages": [dataclasses.asdict(stage) for stage in self.stages],
            "warmup_steps": self.warmup_steps,
        }

    def changes(self, saved: dict[str, Any], extends: bool = False) -> list[PlanChange]:
        """Returns what differs from a saved plan.

        Args:
            saved: `to_dict` of the plan that a run began with.
            extends: Whether the run may become longer: then its warm-up remains as it was.
        """
        ours, changes = self.to_dict(), []
        count, saved_count = len(ours["stages"]), len(saved["stages"])
        if count != saved_count:
            changes.append(PlanChange("", "stages", count, saved_count, is_extension=count > saved_count))
        for now, then in zip(ours["stages"], saved["stages"], strict=False):
            derived = _DERIVED_OF_STREAMS if now["data_key"].startswith(STREAM_KEY) else _DERIVED
            for key, value in now.items():
                saved_value = then.get(key, _BEFORE.get(key))
                if key not in derived and saved_value != value:
                    is_longer = key in ("epochs", "steps") and (value or 0) > (saved_value or 0)
                    changes.append(PlanChange(now["name"], key, value, saved_value, is_longer))
        if ours["warmup_steps"] != saved["warmup_steps"]:
            changes.append(
                PlanChange("", "warmup_steps", ours["warmup_steps"], saved["warmup_steps"], extends)
            )
        return changes

    def __str__(self) -> str:
        return format_plan(self.stages, self.warmup_steps, self.notes)

    def to_markdown(self) -> str:
        """Returns the printed table as Markdown."""
        return plan_as_markdown(self.stages, self.warmup_steps, self.notes)

    def _repr_html_(self) -> str:
        return plan_as_html(self.stages, self.warmup_steps, self.notes)


def make_plan(
    stages: Sequence[StageData],
    config: TrainingConfig,
    epochs_per_stage: int,
    weight_mode: str,
    notes: Sequence[str] = (),
    seconds_per_token: Mapping[int, float] | None = None,
) -> TrainingPlan:
    """Returns the plan of a run over prepared stages.

    Args:
        stages: In the order in which they run.
        config: The run's configuration.
        epochs_per_stage: Of stages that give no length.
        weight_mode: What a stage's weight acts on.
        notes: Lines that begin the plan's notes.
        seconds_per_token: What a token takes at the machine's peak, by row length, where that is known.
    """
    rows = [_plan_stage(data, epochs_per_stage, weight_mode, seconds_per_token or {}) for data in stages]
    total = sum(row.steps for row in rows)
    warmup = config.warmup_of(total)
    notes = [*notes, *_notes_on_rate(config, stages, warmup, total)]
    return TrainingPlan(rows, warmup, [*notes, *_notes_on(stages, rows, epochs_per_stage, weight_mode)])


def _notes_on_rate(config: TrainingConfig, stages: Sequence[StageData], warmup: int, total: int) -> list[str]:
    """Says where the learning rate comes from if nobody set it, and what of a given warm-up does not fit."""
    notes = [note_on_optimizer(config.optimizer)] if is_of_keras(config.optimizer) else []
    rate, asked = config.learning_rate, config.warmup_steps
    is_of_preset = not is_given(rate) and rate != TrainingConfig.learning_rate
    if is_of_preset and any("learning_rate" not in data.stage.config_overrides for data in stages):
        notes.append(
            f"note: the peak learning rate, {rate:g}, is the preset's; give `learning_rate` to choose another"
        )
    if asked is not None and is_given(asked) and asked != warmup:
        notes.append(
            f"note: `warmup_steps`={asked:,} does not fit into a run of {total:,} steps; the warm-up takes a "
            f"tenth of them, {warmup:,}"
        )
    return notes


def note_on_optimizer(optimizer: Mapping[str, Any]) -> str:
    """Returns the line that says what an optimizer of Keras brings to a run."""
    rate = optimizer["config"].get("learning_rate")
    is_schedule = isinstance(rate, Mapping)
    own = f"the schedule {rate['class_name']}" if is_schedule else "a constant learning rate"
    return (
        f"note: {optimizer_name(optimizer)} of Keras brings {own} and its own clipping and decay; the run's "
        "warm-up, `schedule`, `gradient_clip` and `weight_decay` are off"
    )


def _plan_stage(
    data: StageData, epochs_per_stage: int, weight_mode: str, seconds_per_token: Mapping[int, float]
) -> StagePlan:
    stage, report = data.stage, data.train_rows.report()
    per_token = seconds_per_token.get(data.config.max_seq_length)
    epochs = None if data.steps is not None else epochs_per_stage if stage.epochs is None else stage.epochs
    spans = data.spans(1 if epochs is None else epochs)
    steps = sum(span.num_epochs * span.num_steps for span in spans)
    by_rate = weight_mode == "learning_rate"
    return StagePlan(
        name=stage.name,
        datasets=[store["name"] for store in report["stores"]],
        documents=data.train_rows.num_documents,
        validation_documents=data.validation_rows.num_documents if data.validation_rows is not None else 0,
        tokens=data.train_rows.num_tokens,
        rows=report["rows"],
        row_length=data.config.max_seq_length,
        rows_per_step=data.rows_per_step,
        epochs=epochs,
        steps=steps,
        is_upper_bound=hasattr(stage.scheduler, "update_with_loss") and data.steps is None,
        learning_rate=data.config.learning_rate * (stage.weight if by_rate else 1.0),
        loss_weight=1.0 if by_rate else stage.weight,
        order=_order(stage.scheduler),
        data_key=data.data_key,
        mix=_mix(report),
        overrides=dict(stage.config_overrides),
        timeline=_merged(spans),
        least_seconds=None if per_token is None else steps * data.tokens_per_step * per_token,
        objective=describe_objective(data.objective),
        frozen_models=frozen_hashes(data.objective),
        trainable=None if stage.trainable is None else list(stage.trainable),
    )


def _order(scheduler: Any) -> str:
    if scheduler is None:
        return "shuffled"
    pace = "adaptive" if hasattr(scheduler, "update_with_loss") else scheduler.pace
    return f"{scheduler.strategy}, {pace}, then shuffled"


def _mix(report: dict[str, Any]) -> list[dict[str, Any]]:
    total = report["tokens"]
    fractions = [
        store["share_actual"] if store["share_asked"] is None else store["share_asked"]
        for store in report["stores"]
    ]
    return [
        {
            "name": store["name"],
            "tokens": store["tokens"],
            "share": fraction,
            "repeats": fraction * total / store["tokens"] if store["tokens"] else 0.0,
        }
        for store, fraction in zip(report["stores"], fractions, strict=True)
    ]


def _merged(spans: Sequence[PlannedSpan]) -> list[dict[str, int]]:
    """Returns spans as JSON values, and merges neighbors with equal epochs."""
    merged: list[dict[str, int]] = []
    for span in spans:
        alike = {"documents": span.num_documents, "steps": span.num_steps}
        if merged and all(merged[-1][key] == value for key, value in alike.items()):
            merged[-1]["epochs"] += span.num_epochs
        else:
            merged.append({"first_epoch": span.first_epoch, "epochs": span.num_epochs, **alike})
    return merged


def _notes_on(
    stages: Sequence[StageData], rows: Sequence[StagePlan], epochs_per_stage: int, weight_mode: str
) -> list[str]:
    notes = []
    for data, row in zip(stages, rows, strict=True):
        notes += [
            f"note: stage `{row.name}`, {store.name}: {describe_left_out(store.manifest['left_out'])}"
            for store in getattr(data.train_rows, "stores", ())
            if "left_out" in store.manifest
        ]
        if row.validation_documents == 0:
            notes.append(f"note: stage `{row.name}` has no held-out document; early stopping is off for it")
        if data.stage.validation_data is not None:
            notes.append(
                f"note: stage `{row.name}` is evaluated on its `validation_data`; `validation_split` is off "
                "for it"
            )
        if row.loss_weight != 1.0 and weight_mode == "loss":
            notes.append(
                f"note: stage `{row.name}` weighs {row.loss_weight:g}; AdamW nearly cancels a factor on the "
                'loss, Trainer(weight_mode="learning_rate"), in a recipe `weight_mode: learning_rate`, makes '
                "it act"
            )
        needed = getattr(data.stage.scheduler, "epochs_to_full_data", None)
        length = data.clock(epochs_per_stage if row.epochs is None else row.epochs, row.steps)
        if needed is not None and needed() > length:
            unit = data.stage.scheduler.unit
            notes.append(
                f"note: the scheduler of stage `{row.name}` reaches its entire data after {needed():,} "
                f"{unit}s, the stage has {length:,}"
            )
    return notes
