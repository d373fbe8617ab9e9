"""Fires when a level of spiking neurons fires too often or hardly at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from highnoon.config import require_count, require_number
from highnoon.monitoring.alert import Alert
from highnoon.monitoring.rules.alert_rule import AlertRule, finite
from highnoon.monitoring.run_facts import RunFacts

_MEAN, _LEVEL = "activation/firing_rate", "activation/firing_rate_level_"


class FiringRateRule(AlertRule):
    """Fires once for each level whose firing rate passes a limit; a run without levels is judged by its mean.

    A run without spiking layers has no such metric, so the rule never fires there. A level re-arms when its
    rate returns past the limit by a quarter of it (a fifth where the rule is about high rates).

    Args:
        name: Name of the rule.
        limit: The limit, a fraction of the neurons.
        severity: One of `SEVERITIES`.
        message: What a rate beyond the limit means; `{where}`, `{value}` and `{limit}` are filled in.
        advice: What to do.
        is_lower_worse: Whether the rule fires below the limit.
        first_steps: Steps at the start of the run that are ignored.
        action: One of `ACTIONS`.

    Raises:
        ValueError: If an argument is out of its range.
    """

    remembered: ClassVar = ("told", "beyond")

    def __init__(
        self,
        name: str,
        limit: float,
        severity: str,
        message: str,
        advice: str,
        *,
        is_lower_worse: bool = False,
        first_steps: int = 0,
        action: str = "event",
    ) -> None:
        require_number("limit", limit, above=0)
        require_count("first_steps", first_steps, least=0)
        super().__init__(name, severity, advice, action)
        self.limit, self.message, self.first_steps = limit, message, first_steps
        self._sign = -1.0 if is_lower_worse else 1.0
        self._cleared = limit * (1.25 if is_lower_worse else 0.8)
        self.beyond: list[str] = []

    def observe(self, record: Mapping[str, Any], run: RunFacts) -> Alert | None:
        levels = [name for name in record if name.startswith(_LEVEL)]
        rates = {name: rate for name in levels or [_MEAN] if (rate := finite(record, name)) is not None}
        if not rates or record["step"] <= self.first_steps:
            return None
        passed = {name: rate for name, rate in rates.items() if self._is_past(rate, self.limit)}
        new = {name: rate for name, rate in passed.items() if name not in self.beyond}
        still = [
            name for name in self.beyond if name not in rates or self._is_past(rates[name], self._cleared)
        ]
        self.beyond = [*still, *new]
        if not self.beyond or new:
            self.clear()
        if not new:
            return None
        worst = max(new, key=lambda name: self._sign * new[name])
        names = [name.removeprefix(_LEVEL) for name in new if name.startswith(_LEVEL)]
        where = f" in level{'s' if len(names) > 1 else ''} {', '.join(names)}" if names else ""
        value, limit = f"{new[worst]:.3g}", f"{self.limit:g}"
        return self.fire(record, new[worst], self.message.format(where=where, value=value, limit=limit))

    def _is_past(self, rate: float, limit: float) -> bool:
        return self._sign * rate > self._sign * limit
