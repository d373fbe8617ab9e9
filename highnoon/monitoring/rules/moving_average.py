"""An exponential moving average over steps."""

from __future__ import annotations

import math

LEAST_SMOOTHING = 1e-6
"""The smallest time constant, for which the average is the last value."""


def move_average(average: list[float] | None, step: int, value: float, time_constant: float) -> list[float]:
    """Returns the average after one more value, with its step.

        a <- a + (1 - exp(-(step - last step) / time_constant)) * (value - a)

    so that it does not depend on the interval between log points.

    Args:
        average: [average, step], or None before the first value.
        step: Step of the value.
        value: The value.
        time_constant: Steps after which the weight of a value has decayed to 1/e.
    """
    if average is None:
        return [value, step]
    old, last = average
    weight = 1 - math.exp(-max(step - last, 0) / time_constant)
    new = old + weight * (value - old)
    # A value that is not finite, or a difference that overflows, must not spoil all later averages.
    return [new if math.isfinite(new) else value, step]
