"""What a rule says when it fires."""

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
        step: Optimizer step of the figures.
        value: The figure that fired the rule.
        message: What is the case, one sentence.
        advice: What to do about it.
        action: One of `ACTIONS`: what `highnoon.callbacks.Alerts` does.
    """

    rule: str
    severity: str
    step: int
    value: float
    message: str
    advice: str
    action: str
