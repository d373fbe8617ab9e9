"""Fires when the validation loss rises while the training loss falls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from highnoon.config import require_count, require_number
from highnoon.monitoring.alert import Alert
from highnoon.monitoring.rules.alert_rule import AlertRule, finite
from highnoon.monitoring.rules.moving_average import LEAST_SMOOTHING, move_average
from highnoon.monitoring.run_facts import RunFacts


class OverfittingRule(AlertRule):
    """Fires after consecutive evaluations above the best validation loss while the training loss falls.

    Args:
        num_evaluations: Number of consecutive evaluations, each at least `min_delta` above the best.
        min_delta: Nats by which the validation loss rose and the average training loss fell since the best.
        smoothing_steps: Time constant of the average of the training loss.
        action: One of `ACTIONS`.
    """

    remembered: ClassVar = ("told", "average", "best", "best_step", "training_at_best", "num_worse")

    def __init__(
        self,
        num_evaluations: int = 3,
        min_delta: float = 0.01,
        smoothing_steps: float = 50,
        action: str = "event",
    ) -> None:
        require_count("num_evaluations", num_evaluations)
        require_number("min_delta", min_delta, least=0)
        require_number("smoothing_steps", smoothing_steps, least=LEAST_SMOOTHING)
        super().__init__(
            "overfitting",
            "warning",
            "stop and use the best checkpoint, or use more data, more dropout or weight decay, or a smaller "
            "model",
            action,
        )
        self.num_evaluations = num_evaluations
        self.min_delta = min_delta
        self.smoothing_steps = smoothing_steps
        self.restart()

    def restart(self) -> None:
        self.clear()
        self.average: list[float] | None = None
        self.best: float | None = None
        self.training_at_best: float | None = None
        self.best_step = self.num_worse = 0

    def observe(self, record: Mapping[str, Any], run: RunFacts) -> Alert | None:
        loss, held_out = finite(record, "train/loss"), finite(record, "val/loss")
        if loss is not None:
            self.average = move_average(self.average, record["step"], loss, self.smoothing_steps)
        if held_out is None or self.average is None:
            return None
        if self.best is None or held_out < self.best:
            self.best, self.training_at_best = held_out, self.average[0]
            self.best_step, self.num_worse = record["step"], 0
            self.clear()
            return None
        assert self.training_at_best is not None
        has_fallen = self.average[0] < self.training_at_best - self.min_delta
        is_worse = has_fallen and held_out >= self.best + self.min_delta
        self.num_worse = self.num_worse + 1 if is_worse else 0
        if self.num_worse < self.num_evaluations:
            return None
        return self.fire(
            record,
            held_out,
            f"the validation loss rose from {self.best:.4g} (step {self.best_step:,}) to {held_out:.4g} "
            f"while the training loss fell from {self.training_at_best:.4g} to {self.average[0]:.4g}",
        )
