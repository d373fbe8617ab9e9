"""Points that can be plotted."""

from __future__ import annotations

import math
from collections.abc import Iterable

_LARGEST = 1e30


def drawable(points: Iterable[tuple[int, float]]) -> tuple[list[int], list[float]]:
    """Returns steps and values to plot: a value that is not finite, or beyond 1e30, is a gap in the curve.

    Larger axes overflow in matplotlib.
    """
    steps, values = [], []
    for step, value in points:
        steps.append(step)
        values.append(value if abs(value) <= _LARGEST else math.nan)
    return steps, values
