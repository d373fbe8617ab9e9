"""An alert: what a rule reports when it fires."""

from __future__ import annotations

import dataclasses

SEVERITIES = ("info", "warning", "critical")
ACTIONS = ("log", "event", "stop", "cut_rate")


@dataclasses.dataclass(frozen=True)
class Alert:
    """One alert.

    Args:
        rule: Name of the rule.
        severity: One of `SEVERITIES`.
        step: Optimizer step of the metrics.
        value: The value that fired the rule.
        message: What happened, one sentence.
        advice: What to do about it.
        action: What `highnoon.callbacks.Alerts` does, one of `ACTIONS`.
    """

    rule: str
    severity: str
    step: int
    value: float
    message: str
    advice: str
    action: str
