"""Gradients against the slopes of the function itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

_STEPS = (0.01, 0.003, 0.03, 0.001, 0.1)
_NUM_DIRECTIONS = 2
_MOST_DIRECTIONS = 12
_ROUNDING = 4e-7
"""Error of a float32 value, relative to the value."""


def check_slopes(
    function: Callable[..., Any],
    arrays: Sequence[np.ndarray],
    gradients: Sequence[np.ndarray],
    names: Sequence[str],
    tolerance: float = 0.05,
) -> None:
    """Compares gradients with differences of the function, along random directions.

    A gradient that is finite and not zero may still be wrong: scaled, of another weight, or cut off at some
    token. Differences of a function with jumps, such as the choice of experts, tell nothing where they span
    one: then other steps and other directions are tried.

    Args:
        function: Takes float32 arrays, returns a scalar.
        arrays: Where the gradients were taken.
        gradients: One for each array.
        names: One for each array, for the message.
        tolerance: Largest error, as a fraction of the slope that is typical of a random direction.

    Raises:
        AssertionError: a gradient differs; the message names it.

    Example:

    ```python
    import numpy as np
    from highnoon.testing.slopes import check_slopes

    x = np.array([0.5, -0.3], "float32")
    check_slopes(lambda x: (x**2).sum(), [x], [2 * x], ["x"])
    ```
    """
    middle = float(function(*arrays))
    for number, (array, gradient) in enumerate(zip(arrays, gradients, strict=True)):
        random = np.random.default_rng(number)

        def along(offset: np.ndarray, number: int = number) -> float:
            moved = [*arrays]
            moved[number] = (moved[number] + offset).astype("float32")
            return float(function(*moved))

        typical = float(np.sqrt(np.sum(np.square(gradient, dtype="float64"))))
        num_compared = 0
        for _ in range(_MOST_DIRECTIONS):
            direction = random.normal(size=array.shape).astype("float32")
            expected = float(np.sum(gradient * direction, dtype="float64"))
            is_equal, slope = _compare(along, middle, direction, expected, tolerance * typical)
            assert is_equal or slope is None, (
                f"the gradient of {names[number]} has the slope {expected:.4g} along a direction in which "
                f"the function has {slope:.4g}"
            )
            num_compared += is_equal
            if num_compared == _NUM_DIRECTIONS:
                break
        else:
            raise AssertionError(f"the function has jumps everywhere along {names[number]}")


def _compare(
    along: Callable[[np.ndarray], float],
    middle: float,
    direction: np.ndarray,
    expected: float,
    allowed: float,
) -> tuple[bool, float | None]:
    """Whether the slope is as expected at some step; if not, the slope on which two smooth steps agree."""
    smooth: list[float] = []
    for step in _STEPS:
        more, less = along(step * direction), along(-step * direction)
        rounding = _ROUNDING * max(abs(more), abs(less), abs(middle)) / step
        slope, bend = (more - less) / (2 * step), abs(more - 2 * middle + less) / step
        # A step that is lost in rounding would agree with anything; the widest one has to do.
        if rounding > allowed and step != max(_STEPS):
            continue
        if abs(slope - expected) <= allowed + rounding:
            return True, None
        if bend <= 2 * allowed + 2 * rounding:
            smooth.append(slope)
    pairs = [
        one
        for number, one in enumerate(smooth)
        for other in smooth[:number]
        if abs(one - other) <= allowed / 2
    ]
    return False, pairs[0] if pairs else None
