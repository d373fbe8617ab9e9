"""Mixing sources by weight: a fixed cycle of turns, so that any place in it is found at once."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from highnoon.config import require_number, shown
from highnoon.data.document import DataError

CYCLE_TURNS = 10_000
SMALLEST_SHARE = 1.0 / CYCLE_TURNS
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
    if not isinstance(weights, (list, tuple, np.ndarray)):
        raise DataError(f"`weights` must be a list of numbers; received {shown(weights)}")
    values = tuple(require_number("weight", weight, above=0, error=DataError) for weight in weights)
    if not values:
        raise DataError("every weight must be above 0; received none")
    if min(values) < SMALLEST_SHARE:
        raise DataError(
            f"no weight may be below {SMALLEST_SHARE:g}, one turn of {CYCLE_TURNS:,}; received "
            f"{min(values):g}"
        )
    if abs(sum(values) - 1.0) > _SUM_TOLERANCE:
        raise DataError(f"the weights must sum to 1; {list(weights)} sum to {sum(values):.6g}")
    return values


def balanced_shares(tokens: Sequence[int], temperature: float, max_repeats: float) -> list[float]:
    """Returns shares between those of the sources' sizes and equal ones.

        share_i ~ tokens_i^(1/temperature),    at most max_repeats * tokens_i / sum(tokens)

    What a source may not take is shared out among the others in the same proportions. No share is below
    that of one turn of a `Mixture`.

    Args:
        tokens: Of each source, above 0.
        temperature: At least 1, which gives shares in proportion to tokens; infinite gives equal ones.
        max_repeats: Passes over one source in the time of one pass over all, at most; at least 1.

    Raises:
        DataError: an argument out of its range.

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
    shares = np.zeros(len(sizes))
    is_free = np.ones(len(sizes), bool)
    while is_free.any():
        # Those at their bound are settled; each round settles one more at least.
        shares[is_free] = wanted[is_free] / wanted[is_free].sum() * (1.0 - shares[~is_free].sum())
        is_over = is_free & (shares > most)
        if not is_over.any():
            break
        shares[is_over] = most[is_over]
        is_free &= ~is_over
    shares = np.maximum(shares, 2 * SMALLEST_SHARE)
    return [float(share) for share in shares / shares.sum()]


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
