"""What stands for the derivative of a spike, which is zero almost everywhere."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from keras import ops


class Surrogate(NamedTuple):
    """The slope that a spike is given in the backward pass.

    Args:
        slope: From the distance of the membrane to its threshold, and a sharpness, to the slope.
        sharpness: Its default.
    """

    slope: Callable[[Any, float], Any]
    sharpness: float


SURROGATES: dict[str, Surrogate] = {
    # Zenke and Ganguli 2018, SuperSpike (arXiv:1705.11146), eq. 10.
    "fast_sigmoid": Surrogate(lambda x, k: 1.0 / ops.square(1.0 + k * ops.abs(x)), 10.0),
    # Fang et al. 2021, Incorporating Learnable Membrane Time Constant (arXiv:2007.05785), section 4.
    "arctan": Surrogate(lambda x, k: 0.5 * k / (1.0 + ops.square(0.5 * math.pi * k * x)), 2.0),
}


def spike(distance, surrogate: str = "fast_sigmoid", sharpness: float | None = None):
    """Returns 1 where `distance` is above 0, else 0; its gradient is that of a surrogate.

    Args:
        distance: Membrane potential minus threshold, of any shape.
        surrogate: A key of `SURROGATES`.
        sharpness: How narrow the slope is; None takes the surrogate's own.
    """

    @ops.custom_gradient
    def fire(distance):
        def gradient(grad):
            return grad * surrogate_slope(distance, surrogate, sharpness)

        return ops.cast(distance > 0, distance.dtype), gradient

    return fire(distance)


def surrogate_slope(distance, surrogate: str, sharpness: float | None = None):
    """Returns the slope that `spike` is given."""
    slope, default = SURROGATES[surrogate]
    return slope(distance, default if sharpness is None else sharpness)
