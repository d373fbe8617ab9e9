"""A rule with limits on one metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from highnoon.config import require_count, require_number
from highnoon.monitoring.alert import SEVERITIES, Alert
from highnoon.monitoring.rules.alert_rule import AlertRule, finite
from highnoon.monitoring.run_facts import RunFacts


class LevelRule(AlertRule):
    """Fires when a metric exceeds a limit, and again when it exceeds a more severe one.

    It re-arms when the metric returns past `clear_at` times the first limit, so a metric that fluctuates
    around a limit fires once.

    Args:
        name: Name of the rule.
        metric: The metric.
        levels: (limit, severity) pairs, the mildest first.
        message: A format string with `{value}` and `{limit}`.
        advice: What to do.
        is_lower_worse: Whether the rule fires below its limits.
        num_points: Consecutive log points before it fires.
        first_steps: Steps at the start of the run that are ignored.
        clear_at: Factor of the first limit.
        action: One of `ACTIONS`.

    Raises:
        ValueError: If there are no levels, or they are out of order.
    """

    remembered: ClassVar = ("told", "streak")

    def __init__(
        self,
        name: str,
        metric: str,
        levels: Sequence[tuple[float, str]],
        message: str,
        advice: str,
        *,
        is_lower_worse: bool = False,
        num_points: int = 1,
        first_steps: int = 0,
        clear_at: float | None = None,
        action: str = "event",
    ) -> None:
        require_count("num_points", num_points)
        require_count("first_steps", first_steps, least=0)
        if clear_at is not None:
            require_number("clear_at", clear_at)
        for limit, _ in levels:
            require_number("levels", limit)
        severities = [severity for _, severity in levels]
        super().__init__(name, severities[-1] if severities else "", advice, action)
        self._sign = -1.0 if is_lower_worse else 1.0
        limits = [self._sign * limit for limit, _ in levels]
        if limits != sorted(limits) or severities != sorted(severities, key=SEVERITIES.index):
            raise ValueError(
                f"the levels of `{name}` must be ordered from mild to severe; received {list(levels)}"
            )
        self.metric, self.levels, self.message = metric, list(levels), message
        self.num_points, self.first_steps = num_points, first_steps
        if clear_at is None:
            clear_at = 1.25 if is_lower_worse else 0.8
        self._cleared = clear_at * levels[0][0]
        self.streak = 0

    def observe(self, record: Mapping[str, Any], run: RunFacts) -> Alert | None:
        value = finite(record, self.metric)
        if value is None or record["step"] <= self.first_steps:
            return None
        passed = [level for level in self.levels if self._sign * value > self._sign * level[0]]
        self.streak = self.streak + 1 if passed else 0
        if not passed and self._sign * value <= self._sign * self._cleared:
            self.clear()
        if not passed or self.streak < self.num_points:
            return None
        limit, severity = passed[-1]
        message = self.message.format(value=f"{value:.3g}", limit=f"{limit:g}")
        return self.fire(record, value, message, severity)
