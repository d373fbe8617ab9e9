"""A shuffle computed from its seed, the same with every version of every library."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def shuffled(values: npt.NDArray[np.int64], *seeds: int) -> npt.NDArray[np.int64]:
    """Returns `values`, which are distinct and not negative, sorted by their hashes under `seeds`.

    The order of two values does not depend on the other values.

    Steele, Lea, Flood (2014), "Fast Splittable Pseudorandom Number Generators": the mixer of SplitMix64.
    """
    state = np.zeros(1, np.uint64)
    for seed in seeds:
        state = _mix(state + np.uint64(seed % 2**64))
    # The mixer is a bijection, so keys are distinct and any sort gives the same order.
    keys = _mix(_mix(values.astype(np.uint64)) ^ state)
    return values[np.argsort(keys)]


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        mixed = values + _GOLDEN
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))
