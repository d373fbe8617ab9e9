"""Searches the gain at which spiking neurons fire at a given rate."""

from __future__ import annotations

from keras import ops

from highnoon.layers.hatching.spiking_membrane import Membrane, sequential_spikes

_MAX_NEURONS = 4096
_FIRST_EXPONENT = 3.0  # neurons that BDH's norm feeds end near here
_MAX_DOUBLINGS = 40
_MAX_SECANTS = 12
_TOLERANCE = 0.002  # of the target


def find_gain(membrane: Membrane, drive, keeps, target: float) -> float:
    """Returns the factor on the drive with which the fraction `target` of neurons fires.

    The rate rises with the gain. Doublings enclose the gain, and secants of its logarithm find the rate to
    0.2 percent of the target. The search needs values and runs outside of graphs.

    Args:
        membrane: The neurons' constants.
        drive: (t, b, n) float32, before the gain; of more than 4,096 neurons a regular sample is taken.
        keeps: (t, b, 1), see `sequential_spikes`.
        target: The fraction, in (0, 1).

    Raises:
        ValueError: no gain reaches the rate.
    """
    drive = drive[..., :: -(-drive.shape[-1] // _MAX_NEURONS)]
    shape = ops.shape(drive[0])
    state = (ops.full(shape, membrane.rest, "float32"), ops.zeros(shape, "float32"))

    def excess(exponent: float) -> float:
        spikes, _ = sequential_spikes(membrane, 2.0**exponent * drive, keeps, state)
        return float(ops.mean(spikes)) - target

    low = high = _FIRST_EXPONENT
    low_excess = high_excess = excess(low)
    for _ in range(_MAX_DOUBLINGS):
        if low_excess <= 0 <= high_excess:
            break
        if high_excess < 0:
            low, low_excess, high = high, high_excess, high + 1.0
            high_excess = excess(high)
        else:
            low, high, high_excess = low - 1.0, low, low_excess
            low_excess = excess(low)
    else:
        raise ValueError(
            f"no input gain makes the fraction {target} of the neurons fire; choose another sparsity target "
            "or threshold"
        )
    return 2.0 ** _root(excess, (low, low_excess), (high, high_excess), _TOLERANCE * target)


def _root(excess, low: tuple[float, float], high: tuple[float, float], tolerance: float) -> float:
    """Where `excess` is 0 between two points (x, excess of x), by the Illinois method."""
    last_side = 0
    middle = low
    for _ in range(_MAX_SECANTS):
        (x, y), (u, v) = low, high
        at = (x * v - u * y) / (v - y) if v > y else (x + u) / 2
        middle = (at, excess(at))
        if abs(middle[1]) <= tolerance:
            break
        side = 1 if middle[1] > 0 else -1
        if side > 0:
            high = middle
            low = (x, y / 2) if side == last_side else low
        else:
            low = middle
            high = (u, v / 2) if side == last_side else high
        last_side = side
    return middle[0]
