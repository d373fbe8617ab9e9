"""What a run records of an epoch when it ends."""

from __future__ import annotations

import math
from typing import Any

import keras

from highnoon.training.plans.stage_plan import StagePlan
from highnoon.training.runs.history import add_epoch, keras_name
from highnoon.training.runs.run_state import RunState


def record_epoch(state: RunState, plan: StagePlan, val_loss: float | None) -> dict[str, Any]:
    """Adds the epoch that ended to the run's history and returns the fields of its event.

    Args:
        state: The run, its progress at the epoch's end.
        plan: Of the stage.
        val_loss: Of the evaluation at the epoch's end; None where nothing is held out.
    """
    progress = state.progress
    metrics = dict(progress.evaluated_figures) if val_loss is not None else {}
    rate = keras.ops.convert_to_numpy(state.learner.optimizer.learning_rate)
    metrics["train/learning_rate"] = float(rate)
    fields = {
        "stage": plan.name,
        "epoch": progress.epoch,
        "step": progress.step,
        "loss": progress.train_loss,
        "val_loss": val_loss,
    }
    add_epoch(progress.history, {keras_name(name): value for name, value in metrics.items()} | fields)
    return fields | {"metrics": metrics}


def keras_logs(state: RunState, val_loss: float | None) -> dict[str, Any]:
    """Returns the `logs` of Keras's `on_epoch_end`: `loss`, `val_loss`, and the other held-out figures."""
    logs: dict[str, Any] = {"loss": _comparable(state.progress.train_loss)}
    if val_loss is not None:
        figures = state.progress.evaluated_figures
        logs |= {keras_name(name): value for name, value in figures.items()}
        logs["val_loss"] = _comparable(val_loss)
    return logs


def _comparable(loss: float | None) -> float | None:
    """What Keras's callbacks compare: they would take NaN, once it came first, for the lowest of all."""
    return math.inf if loss is not None and math.isnan(loss) else loss
