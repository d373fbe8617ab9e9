"""Rewards of completions, from plain functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from highnoon.config import ConfigError, require_number, shown

RewardFunction = Callable[[list[str]], Sequence[float]]


class Rewards:
    """The weighted sum of reward functions.

    Args:
        functions: One function, or a mapping of functions to their weights. A function takes a list of texts,
            each a prompt with its completion, and returns as many finite numbers.

    Raises:
        ConfigError: something is not a function, or a weight is not a number.

    Example:

    ```python
    from highnoon.alignment.policy_gradient import Rewards

    def is_short(texts):
        return [float(len(text) < 8) for text in texts]

    def ends(texts):
        return [float(text.endswith(".")) for text in texts]

    rewards = Rewards({is_short: 1.0, ends: 0.5})
    assert rewards(["Yes.", "A long answer."]).tolist() == [1.5, 0.5]
    ```
    """

    def __init__(self, functions: RewardFunction | Mapping[RewardFunction, float]) -> None:
        weights = functions if isinstance(functions, Mapping) else {functions: 1.0}
        if not weights or not all(callable(function) for function in weights):
            raise ConfigError(
                "rewards must be a function, or a mapping of functions to weights; received "
                f"{shown(functions)}"
            )
        self._weights = {
            function: require_number(f"weight of {_name(function)}", weight)
            for function, weight in weights.items()
        }

    def __call__(self, texts: list[str]) -> np.ndarray:
        """Returns the reward (n,) float64 of each text.

        Raises:
            ConfigError: a function returned another number of values, or one that is not finite.
        """
        total = np.zeros(len(texts))
        for function, weight in self._weights.items():
            total += weight * _checked(function, function(list(texts)), len(texts))
        return total

    def describe(self) -> list[list[Any]]:
        """Returns name and weight of each function, as JSON values."""
        return [[_name(function), weight] for function, weight in self._weights.items()]


def _checked(function: Any, values: Any, count: int) -> np.ndarray:
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise ConfigError(
            f"the reward {_name(function)} must return {count} numbers; received {shown(values)}"
        ) from None
    if array.shape != (count,):
        raise ConfigError(
            f"the reward {_name(function)} must return {count} numbers, one for each text; received "
            f"{array.size}"
        )
    if not np.all(np.isfinite(array)):
        index = int(np.argmin(np.isfinite(array)))
        raise ConfigError(
            f"the reward {_name(function)} must return finite numbers; received {array[index]} for text "
            f"{index}"
        )
    return array


def _name(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__)
