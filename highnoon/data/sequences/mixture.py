"""Mixes sources by weight: a fixed cycle of turns, so that any position is computed in constant time."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from highnoon.config import require_number, shown
from highnoon.data.document import DataError

CYCLE_TURNS = 10_000
SMALLEST_WEIGHT = 1.0 / CYCLE_TURNS
_SUM_TOLERANCE = 1e-6


class Mixture:
    """Assigns turns to sources by weight.

    Each turn goes to the source that is furthest behind its weight:
    `turn[k] = argmax_i(weights[i] * (k + 1) - taken[i])`, for a cycle of 10,000 turns that then repeats. So
    in any window of 1,000 turns, the turns of each source differ from its weight by at most 1 percent of the
    window.

    Args:
        weights: The weight of each source, above 0; their sum is 1.

    Raises:
        DataError: If a weight is not above 0, or they do not sum to 1 within 1e-6.
    """

    def __init__(self, weights: Sequence[float]) -> None:
        self.weights = require_weights(weights)
        self._turns, self._taken = _cycle(self.weights)

    def sources(self, turns: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Returns the source of each of `turns`."""
        return self._turns[turns % CYCLE_TURNS]

    def taken(self, turns: npt.NDArray[np.int64], source: int) -> npt.NDArray[np.int64]:
        """Returns how many turns before each of `turns` went to `source`."""
        whole, rest = np.divmod(turns, CYCLE_TURNS)
        return whole * self._taken[CYCLE_TURNS, source] + self._taken[rest, source]


def require_weights(weights: Sequence[float]) -> tuple[float, ...]:
    """Returns `weights` as floats, after checking that they are positive and sum to 1.

    Raises:
        DataError: If they are not.
    """
    if not isinstance(weights, (list, tuple, np.ndarray)):
        raise DataError(f"`weights` must be a list of numbers; received {shown(weights)}")
    values = tuple(require_number("weight", weight, above=0, error=DataError) for weight in weights)
    if not values:
        raise DataError("every weight must be above 0; received none")
    if min(values) < SMALLEST_WEIGHT:
        raise DataError(
            f"weights must be at least {SMALLEST_WEIGHT:g}, one of {CYCLE_TURNS:,} turns; received "
            f"{min(values):g}"
        )
    if abs(sum(values) - 1.0) > _SUM_TOLERANCE:
        raise DataError(f"the weights must sum to 1; {list(weights)} sum to {sum(values):.6g}")
    return values


def balanced_weights(tokens: Sequence[int], temperature: float, max_repeats: float) -> list[float]:
    """Returns weights of sources between proportional to their sizes and equal.

        weight_i ~ tokens_i^(1/temperature),    at most max_repeats * tokens_i / sum(tokens)

    The weight above a source's maximum is distributed over the others in the same proportions. No weight is
    below that of one turn of a `Mixture`.

    Args:
        tokens: Tokens of each source, above 0.
        temperature: At least 1; 1 gives weights proportional to tokens, infinity gives equal weights.
        max_repeats: Maximum number of times that one source is read while all are read once; at least 1.

    Raises:
        DataError: If an argument is out of range.

    Conneau, Lample 2019, "Cross-lingual language model pretraining", section 3.1, where the exponent is
    written alpha = 1 / temperature.
    """
    sizes = np.array(tokens, np.float64)
    if not len(sizes) or sizes.min() <= 0 or not temperature >= 1 or not max_repeats >= 1:
        raise DataError(
            f"expected tokens above 0, and `temperature` and `max_repeats` of at least 1; "
            f"received {list(tokens)}, {temperature} and {max_repeats}"
        )
    wanted = (sizes / sizes.sum()) ** (1.0 / temperature)
    most = max_repeats * sizes / sizes.sum()
    weights = np.zeros(len(sizes))
    is_free = np.ones(len(sizes), bool)
    while is_free.any():
        # Weights at their maximum are final; each round makes at least one more of them final.
        weights[is_free] = wanted[is_free] / wanted[is_free].sum() * (1.0 - weights[~is_free].sum())
        is_over = is_free & (weights > most)
        if not is_over.any():
            break
        weights[is_over] = most[is_over]
        is_free &= ~is_over
    weights = np.maximum(weights, 2 * SMALLEST_WEIGHT)
    return [float(weight) for weight in weights / weights.sum()]


# The former name of `balanced_weights`.
balanced_shares = balanced_weights


@functools.lru_cache(maxsize=32)
def _cycle(weights: tuple[float, ...]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Returns the source of each turn of a cycle, and how many turns each source has before it."""
    increments = np.array(weights)
    turns = np.zeros(CYCLE_TURNS, np.int64)
    deficit = np.zeros(len(weights))
    for turn in range(CYCLE_TURNS):
        deficit += increments
        turns[turn] = chosen = int(np.argmax(deficit))
        deficit[chosen] -= 1.0
    taken = np.zeros((CYCLE_TURNS + 1, len(weights)), np.int64)
    np.cumsum(turns[:, None] == np.arange(len(weights)), axis=0, out=taken[1:])
    return turns, taken
