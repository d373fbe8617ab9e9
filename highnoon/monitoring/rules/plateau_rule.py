"""Fires when the loss has stopped falling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from highnoon.config import EARLY_STOPPING_MIN_DELTA, require_count, require_number
from highnoon.monitoring.alert import Alert
from highnoon.monitoring.rules.alert_rule import AlertRule, finite
from highnoon.monitoring.rules.moving_average import LEAST_SMOOTHING, move_average
from highnoon.monitoring.run_facts import RunFacts


class PlateauRule(AlertRule):
    """Fires when the moving average of the training loss has no new best for `num_steps` steps.

    An average is a new best if it is `min_delta` below the last best, so small improvements add up. Each
    stage starts again.

    Args:
        num_steps: Optimizer steps without a new best.
        min_delta: Improvement in nats.
        smoothing_steps: Time constant of the average.
        action: One of `ACTIONS`.
    """

    remembered: ClassVar = ("told", "average", "best", "best_step")

    def __init__(
        self,
        num_steps: int = 500,
        min_delta: float = EARLY_STOPPING_MIN_DELTA,
        smoothing_steps: float = 50,
        action: str = "event",
    ) -> None:
        require_count("num_steps", num_steps)
        require_number("min_delta", min_delta, least=0)
        require_number("smoothing_steps", smoothing_steps, least=LEAST_SMOOTHING)
        super().__init__(
            "plateau",
            "warning",
            "change the learning rate (increase it early in a run, decrease it late), or check the data",
            action,
        )
        self.num_steps = num_steps
        self.min_delta = min_delta
        self.smoothing_steps = smoothing_steps
        self.restart()

    def restart(self) -> None:
        self.clear()
        self.average: list[float] | None = None
        self.best: float | None = None
        self.best_step = 0

    def observe(self, record: Mapping[str, Any], run: RunFacts) -> Alert | None:
        loss, step = finite(record, "train/loss"), record["step"]
        if loss is None:
            return None
        self.average = move_average(self.average, step, loss, self.smoothing_steps)
        if self.best is None or self.average[0] < self.best - self.min_delta:
            self.best, self.best_step = self.average[0], step
            self.clear()
        elif step - self.best_step >= self.num_steps:
            return self.fire(
                record,
                float(step - self.best_step),
                f"the loss has not fallen for {step - self.best_step:,} steps: its best average is "
                f"{self.best:.4g}, at step {self.best_step:,}",
            )
        return None
