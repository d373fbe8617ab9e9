"""The figures of a log point."""

from __future__ import annotations

from typing import Any

import numpy as np

from highnoon.models.arrays import variable_names
from highnoon.training.plans.stage_data import StageData
from highnoon.training.runs.run_state import RunState
from highnoon.training.steps.histograms import COUNTS, EDGES, histogram_rows
from highnoon.training.steps.micro_batches import TOTAL, WEIGHT, metric_sums

_NOT_LOGGED = ("is_skipped", "skipped_in_a_row", "num_stops", "num_tokens", COUNTS, EDGES)


def log_point(state: RunState, data: StageData) -> None:
    """Reads metrics from the device and sends them: the mean loss since the last log point, the rest of the
    last step. Where nothing was supervised since then, there is no loss and `train/loss` is left out.

    Args:
        state: The run, after a step.
        data: Of its stage.
    """
    progress, step = state.progress, state.metrics or {}
    before = progress.logged or [0.0, 0.0]
    state.note_totals()
    now = progress.logged or [0.0, 0.0]
    num_tokens = now[1] - before[1]
    figures = {
        name: float(value)
        for name, value in step.items()
        if name not in _NOT_LOGGED and not name.startswith((TOTAL, WEIGHT))
    }
    sums = {
        name: (np.asarray(total, np.float64), float(weight))
        for name, (total, weight) in metric_sums(step).items()
    }
    figures |= data.objective.metric_values(sums)
    metrics = {name if "/" in name else f"train/{name}": value for name, value in figures.items()}
    metrics["train/skipped_steps"] = float(state.learner.state["skipped"])
    if num_tokens:
        metrics["train/loss"] = (now[0] - before[0]) / num_tokens
    elif not step["is_skipped"]:  # of skipped steps, the last one's loss says why
        metrics.pop("train/loss", None)
    metrics |= state.throughput.report()
    metrics |= state.mix.report()
    metrics |= state.task_losses.report()
    state.callbacks.event("log", stage=data.stage.name, step=progress.step, metrics=metrics)
    if COUNTS in step:
        state.callbacks.event(
            "histograms", stage=data.stage.name, step=progress.step, histograms=_histograms(state, step)
        )


def _histograms(state: RunState, step: Any) -> dict[str, np.ndarray]:
    """Returns the rows of each gradient and each weight, by name."""
    names = variable_names(state.model.trainable_variables)
    tags = [f"{kind}/{name}" for kind in ("gradient", "weight") for name in names]
    counts, edges = np.asarray(step[COUNTS]), np.asarray(step[EDGES])
    return {tag: histogram_rows(counts[i], edges[i]) for i, tag in enumerate(tags)}
