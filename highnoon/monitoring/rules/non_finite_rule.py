"""Fires when a loss or gradient is not finite."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from highnoon.monitoring.alert import Alert
from highnoon.monitoring.metrics.number import as_number
from highnoon.monitoring.rules.alert_rule import AlertRule, finite
from highnoon.monitoring.run_facts import RunFacts

_VALUES = ("train/loss", "val/loss", "train/weight_norm", "train/grad_norm", "train/grad_max")
_COUNTS = ("train/nan_count", "train/inf_count")
_OF_SPIKING = "in a spiking model a larger `tau_mem`, such as 20 in place of 10, makes neurons more stable"
_OF_GRADIENTS = ("train/grad_norm", "train/grad_max", *_COUNTS)


class NonFiniteRule(AlertRule):
    """Fires when a loss or a gradient norm is NaN or infinite, or non-finite gradients were counted.

    If the loss is scaled, for float16, gradients overflow occasionally by design, and only losses count.
    """

    def __init__(self, action: str = "event") -> None:
        super().__init__(
            "non_finite",
            "critical",
            "stop, resume from the last checkpoint with a lower learning rate, and inspect this step's batch",
            action,
        )

    def observe(self, record: Mapping[str, Any], run: RunFacts) -> Alert | None:
        ignored = _OF_GRADIENTS if (finite(record, "train/loss_scale") or 1.0) > 1.0 else ()
        names = [name for name in (*_VALUES, *_COUNTS) if name not in ignored]
        numbers = {name: as_number(record.get(name)) for name in names}
        values = {name: value for name, value in numbers.items() if value is not None}
        for name, value in values.items():
            if not math.isfinite(value) or (name in _COUNTS and value > 0):
                alert = self.fire(record, value, f"{name} is {value:g}")
                if alert is None or finite(record, "activation/firing_rate") is None:
                    return alert
                return dataclasses.replace(alert, advice=f"{alert.advice}; {_OF_SPIKING}")
        if "train/loss" in values:
            self.clear()
        return None
