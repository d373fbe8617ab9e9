"""Fires when updates are skipped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from highnoon.monitoring.alert import Alert
from highnoon.monitoring.rules.alert_rule import AlertRule, finite
from highnoon.monitoring.run_facts import RunFacts


class SkippedStepsRule(AlertRule):
    """Fires when `train/skipped_steps`, the count of the run, increases; clears when it does not."""

    remembered: ClassVar = ("told", "count")

    def __init__(self, action: str = "event") -> None:
        super().__init__(
            "skipped_steps",
            "warning",
            "a few are harmless; if they continue, decrease the learning rate and inspect the saved batches",
            action,
        )
        self.count = 0.0

    def observe(self, record: Mapping[str, Any], run: RunFacts) -> Alert | None:
        count = finite(record, "train/skipped_steps")
        if count is None:
            return None
        new, self.count = count - self.count, count
        if new > 0:
            return self.fire(
                record, count, f"{new:,.0f} updates skipped since the last log point, {count:,.0f} in all"
            )
        self.clear()
        return None
