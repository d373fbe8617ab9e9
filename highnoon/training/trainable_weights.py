"""Which weights of a model a stage trains, by patterns of their paths."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Sequence
from typing import Any

import keras

from highnoon.config import ConfigError, shown
from highnoon.files.nearest_name import nearest_name


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


def require_float32(model: keras.Model) -> None:
    """Checks that the weights that training changes are stored in float32.

    Args:
        model: Its weights built; frozen ones may have any type.

    Raises:
        ConfigError: one is not. A weight of 8 significant bits, as bfloat16 has, stays where it is at any
            step below a 500th of its size.
    """
    others = [weight for weight in model.trainable_weights if weight.dtype != "float32"]
    if others:
        kind = others[0].dtype
        policy = f"mixed_{kind}" if kind in ("bfloat16", "float16") else "float32"
        raise ConfigError(
            f"the Trainer trains weights of float32; received {kind} for {len(others)} of them, such as "
            f"{shown(others[0].path)}; make or load the model with dtype={policy!r}"
        )


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
                near = nearest_name(pattern.strip("*"), self._paths)
                hint = f"the nearest path is {near!r}" if near else f"a path is {self._paths[0]!r}"
                raise ConfigError(
                    f"`trainable`: the pattern {pattern!r} matches none of the model's {len(self._paths)} "
                    f"trainable weights; {hint}"
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


def largest_selection(model: keras.Model, selections: Sequence[Sequence[str] | None]) -> list[keras.Variable]:
    """Returns the weights of the stage that trains most numbers.

    Args:
        model: Its weights, all `trainable` flags as the model declares them.
        selections: The patterns of each stage.

    Raises:
        ConfigError: a pattern selects no weight.
    """
    weights = TrainableWeights(model)
    return max(
        (weights.matching(patterns) for patterns in selections),
        key=lambda selected: sum(math.prod(weight.shape) for weight in selected),
    )
