"""The learning rates of a run that is extended, next to those of the plan that it began with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from highnoon.config import canonical_keys
from highnoon.training.steps.run_schedule import RunSchedule

_POINTS = 6


def describe_schedule_change(now: RunSchedule, then: RunSchedule, step: int) -> str:
    """Returns a table of both learning rates at a few steps, from where the run is to its new end.

    Args:
        now: Of the run as it resumes.
        then: Of the plan that it began with.
        step: Optimizer steps taken.

    Returns:
        Lines of text: the step, the learning rate now and before, `-` after the end of the plan before.
    """
    ends = now.stage_ends[-1], then.stage_ends[-1]
    spread = [step + (ends[0] - step) * point // (_POINTS - 1) for point in range(_POINTS)]
    steps = sorted({*(at for at in spread if at < ends[0]), max(ends[0] - 1, 0), max(min(ends) - 1, step)})
    rows = [("step", f"now, {ends[0]:,} steps", f"before, {ends[1]:,} steps")]
    for at in steps:
        before = f"{float(then(at)):.3g}" if at < ends[1] else "-"
        rows.append((f"{at:,}", f"{float(now(at)):.3g}", before))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n  ".join(["learning rate of the longer run:", *lines])


def saved_schedule(state: Mapping[str, Any]) -> RunSchedule:
    """Returns the schedule of a checkpoint's plan.

    Args:
        state: Of the checkpoint.
    """
    stages, config = state["plan"]["stages"], canonical_keys(state["training_config"])
    ends = [sum(stage["steps"] for stage in stages[: number + 1]) for number in range(len(stages))]
    return RunSchedule(
        peaks=[stage["learning_rate"] for stage in stages],
        stage_ends=ends,
        warmup_steps=state["plan"]["warmup_steps"],
        decay=config.get("schedule", "cosine"),
        min_ratio=config.get("min_learning_rate_ratio", 0.1),
        decay_ratio=config.get("decay_ratio", 0.2),
    )
