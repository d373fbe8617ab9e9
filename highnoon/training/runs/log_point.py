"""The figures of a log point."""

from __future__ import annotations

import numpy as np

from highnoon.training.plans.stage_data import StageData
from highnoon.training.runs.run_state import RunState
from highnoon.training.steps.micro_batches import TOTAL, WEIGHT, metric_sums

_NOT_LOGGED = ("is_skipped", "skipped_in_a_row", "num_stops", "num_tokens")


def log_point(state: RunState, data: StageData) -> None:
    """Reads metrics from the device and sends them: the mean loss since the last log point, the rest of the
    last step.

    Args:
        state: The run, after a step.
        data: Of its stage.
    """
    progress, step = state.progress, state.metrics or {}
    before = progress.logged or [0.0, 0.0]
    state.note_totals()
    now = progress.logged or [0.0, 0.0]
    num_tokens = now[1] - before[1]
    # Where every step was skipped, the last one's loss says why.
    loss = (now[0] - before[0]) / num_tokens if num_tokens else float(step["loss"])
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
    metrics |= {"train/loss": loss, "train/skipped_steps": float(state.learner.state["skipped"])}
    metrics |= state.throughput.report()
    metrics |= state.mix.report()
    state.callbacks.event("log", stage=data.stage.name, step=progress.step, metrics=metrics)
