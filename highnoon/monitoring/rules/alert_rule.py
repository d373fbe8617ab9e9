"""The base class of alert rules."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from highnoon.config import ConfigError, require_text, shown
from highnoon.files.nearest_name import unknown_name
from highnoon.monitoring.alert import ACTIONS, SEVERITIES, Alert
from highnoon.monitoring.metrics.number import as_number
from highnoon.monitoring.run_facts import RunFacts


class AlertRule:
    """Examines each line of metrics and fires when something is wrong.

    A rule fires once, and re-arms when its condition clears. It fires again before that only with a higher
    severity.

    Args:
        name: Name of the rule, unique in an engine.
        severity: One of `SEVERITIES`.
        advice: What to do.
        action: One of `ACTIONS`.

    Raises:
        ValueError: If the severity or action does not exist.
    """

    remembered: ClassVar[tuple[str, ...]] = ("told",)
    """Names of the attributes that checkpoints save; their values are JSON values."""

    def __init__(self, name: str, severity: str, advice: str, action: str = "event") -> None:
        require_text("name of a rule", name)
        if not isinstance(advice, str):
            raise ConfigError(f"`advice` must be a string; received {shown(advice)}")
        if not isinstance(severity, str) or severity not in SEVERITIES:
            raise ValueError(unknown_name("severity", severity, SEVERITIES))
        if not isinstance(action, str) or action not in ACTIONS:
            raise ValueError(unknown_name("action", action, ACTIONS))
        self.name, self.severity, self.advice, self.action = name, severity, advice, action
        # Severity of the active alert; None if the rule is armed.
        self.told: str | None = None

    def observe(self, record: Mapping[str, Any], run: RunFacts) -> Alert | None:
        """Returns an alert if this line (`step`, `stage`, metrics) fires the rule."""
        raise NotImplementedError

    def restart(self) -> None:
        """Called before the first metrics of a new stage, and after the run went back to a checkpoint."""

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.remembered}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name in self.remembered:
            if name in state:
                setattr(self, name, state[name])

    def fire(
        self, record: Mapping[str, Any], value: float, message: str, severity: str | None = None
    ) -> Alert | None:
        """Returns the alert, or None if an alert of this or a higher severity is active."""
        severity = severity or self.severity
        if self.told is not None and SEVERITIES.index(severity) <= SEVERITIES.index(self.told):
            return None
        self.told = severity
        return Alert(self.name, severity, record["step"], value, message, self.advice, self.action)

    def clear(self) -> None:
        """Re-arms the rule, because its condition has cleared."""
        self.told = None


def finite(record: Mapping[str, Any], metric: str) -> float | None:
    """Returns a metric of a line, or None if it is absent or not finite."""
    value = as_number(record.get(metric))
    return value if value is not None and math.isfinite(value) else None
