"""Fires when the loss rises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from highnoon.config import require_count, require_number
from highnoon.monitoring.alert import Alert
from highnoon.monitoring.rules.alert_rule import AlertRule, finite
from highnoon.monitoring.rules.moving_average import LEAST_SMOOTHING, move_average
from highnoon.monitoring.run_facts import RunFacts


class RisingLossRule(AlertRule):
    """Fires when the moving average of the loss exceeds its minimum in this stage by a fraction.

    Args:
        rise: The fraction.
        smoothing_steps: Time constant of the average.
        first_steps: Steps at the start of the run that are ignored.
        quiet_steps: Steps at the start of a later stage that are ignored.
        action: One of `ACTIONS`.
    """

    remembered: ClassVar = ("told", "average", "lowest")

    def __init__(
        self,
        rise: float = 0.1,
        smoothing_steps: float = 20,
        first_steps: int = 10,
        quiet_steps: int = 100,
        action: str = "event",
    ) -> None:
        require_number("rise", rise, above=0)
        require_number("smoothing_steps", smoothing_steps, least=LEAST_SMOOTHING)
        require_count("first_steps", first_steps, least=0)
        require_count("quiet_steps", quiet_steps, least=0)
        super().__init__(
            "rising_loss",
            "warning",
            "decrease the learning rate; if the loss does not recover, resume from an earlier checkpoint",
            action,
        )
        self.rise = rise
        self.smoothing_steps = smoothing_steps
        self.first_steps = first_steps
        self.quiet_steps = quiet_steps
        self.average: list[float] | None = None
        self.lowest: float | None = None

    def restart(self) -> None:
        self.average = self.lowest = None

    def observe(self, record: Mapping[str, Any], run: RunFacts) -> Alert | None:
        loss, step = finite(record, "train/loss"), record["step"]
        if loss is None:
            return None
        self.average = move_average(self.average, step, loss, self.smoothing_steps)
        self.lowest = min(self.average[0], self.average[0] if self.lowest is None else self.lowest)
        excess = self.average[0] / self.lowest - 1 if self.lowest > 0 else 0.0
        if excess < self.rise / 2:
            self.clear()
        if excess <= self.rise or not run.is_settled(step, self.first_steps, self.quiet_steps):
            return None
        return self.fire(
            record,
            loss,
            f"the loss is rising: {self.average[0]:.4g} on average, {excess:.0%} above its minimum, "
            f"{self.lowest:.4g}",
        )
