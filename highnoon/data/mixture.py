"""Mixing sources by weight: a fixed cycle of turns, so that any place in it is found at once."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from highnoon.data.document import DataError

CYCLE_TURNS = 10_000
_SUM_TOLERANCE = 1e-6


class Mixture:
    """Turns shared out by weight.

    Each turn goes to the source that lags most behind its share:
    `turn[k] = argmax_i(weights[i] * (k + 1) - taken[i])`, for a cycle of 10,000 turns that then
    repeats. So any window of 1,000 turns holds each source's share to within 1 percent of the window.

    Args:
        weights: Share of each source, above 0; their sum is 1.

    Raises:
        DataError: a weight is not above 0, or they do not sum to 1 within 1e-6.
    """

    def __init__(self, weights: Sequence[float]) -> None:
        self.weights = require_weights(weights)
        self._turns, self._taken = _cycle(self.weights)

    def sources(self, turns: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Returns which source each of `turns` goes to."""
        return self._turns[turns % CYCLE_TURNS]

    def taken(self, turns: npt.NDArray[np.int64], source: int) -> npt.NDArray[np.int64]:
        """Returns how many turns before each of `turns` went to `source`."""
        whole, rest = np.divmod(turns, CYCLE_TURNS)
        return whole * self._taken[CYCLE_TURNS, source] + self._taken[rest, source]


def require_weights(weights: Sequence[float]) -> tuple[float, ...]:
    """Returns `weights` as floats, after checking that they are shares of a whole."""
    values = tuple(float(weight) for weight in weights)
    if not values or min(values) <= 0:
        raise DataError(f"every weight must be above 0; received {list(weights)}")
    if abs(sum(values) - 1.0) > _SUM_TOLERANCE:
        raise DataError(f"the weights must sum to 1; {list(weights)} sum to {sum(values):.6g}")
    return values


@functools.lru_cache(maxsize=32)
def _cycle(weights: tuple[float, ...]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The source of each turn of a cycle, and how many turns each source took before it."""
    shares = np.array(weights)
    turns = np.zeros(CYCLE_TURNS, np.int64)
    deficit = np.zeros(len(weights))
    for turn in range(CYCLE_TURNS):
        deficit += shares
        turns[turn] = chosen = int(np.argmax(deficit))
        deficit[chosen] -= 1.0
    taken = np.zeros((CYCLE_TURNS + 1, len(weights)), np.int64)
    np.cumsum(turns[:, None] == np.arange(len(weights)), axis=0, out=taken[1:])
    return turns, taken
