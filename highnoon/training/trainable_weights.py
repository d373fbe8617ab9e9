"""Which weights of a model a stage trains, by patterns of their paths."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Sequence
from typing import Any

import keras

from highnoon.config import ConfigError, shown


def require_patterns(value: Any) -> list[str]:
    """Returns patterns of weight paths as a list.

    Raises:
        ConfigError: they are no list of texts, or none.
    """
    patterns = [value] if isinstance(value, str) else value
    if (
        not isinstance(patterns, (list, tuple))
        or not patterns
        or any(not isinstance(pattern, str) or not pattern for pattern in patterns)
    ):
        raise ConfigError(
            "`trainable` must be a list of patterns of weight paths, such as ['*attention*']; received "
            f"{shown(value)}"
        )
    return list(patterns)


class TrainableWeights:
    """Selects which of a model's weights are trained.

    A pattern is matched against `path` of a weight as `fnmatch.fnmatchcase` does: `*` stands for any text,
    also across `/`. Weights that the model itself declares frozen (`trainable = False`) stay frozen.

    Args:
        model: The model, its weights built.
    """

    def __init__(self, model: keras.Model) -> None:
        self._weights = list(model.trainable_weights)
        self._paths = [weight.path for weight in self._weights]

    def matching(self, patterns: Sequence[str] | None) -> list[keras.Variable]:
        """Returns the weights that patterns select; None selects all.

        Raises:
            ConfigError: a pattern selects no weight.
        """
        if patterns is None:
            return list(self._weights)
        selected: set[str] = set()
        for pattern in patterns:
            found = [path for path in self._paths if fnmatch.fnmatchcase(path, pattern)]
            if not found:
                nearest = difflib.get_close_matches(pattern.strip("*"), self._paths, n=1, cutoff=0.0)[0]
                raise ConfigError(
                    f"`trainable`: the pattern {pattern!r} matches none of the model's {len(self._paths)} "
                    f"trainable weights; the nearest path is {nearest!r}"
                )
            selected.update(found)
        return [weight for weight, path in zip(self._weights, self._paths, strict=True) if path in selected]

    def select(self, patterns: Sequence[str] | None) -> None:
        """Makes the weights that patterns select trainable and freezes the others.

        Raises:
            ConfigError: a pattern selects no weight.
        """
        selected = {id(weight) for weight in self.matching(patterns)}
        for weight in self._weights:
            weight.trainable = id(weight) in selected
