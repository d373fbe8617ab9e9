"""Figures that an evaluation adds to the held-out loss, such as those of generated text."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from highnoon.config import ConfigError, shown


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure of an evaluation.

    Args:
        value: The figure.
        count: How many things it is a mean of: rows, tokens, questions.
    """

    value: float
    count: float


class Evaluator:
    """Computes figures of a model at each evaluation of a run.

    A subclass is registered with `register_evaluator` and built from plain values, so that a recipe can name
    it. Its figures are in the evaluation's event, in `metrics.jsonl` and in TensorBoard as `val/NAME`. It may
    draw random numbers: the run puts all random states back afterwards.
    """

    def evaluate(
        self, model: keras.Model, sample: Mapping[str, np.ndarray], step: int
    ) -> Mapping[str, Figure]:
        """Returns figures by name, without the prefix `val/`.

        Args:
            model: With its averaged weights, if the run keeps an average. It must not be changed.
            sample: The first batch of the stage's held-out rows, the same at each evaluation.
            step: Optimizer steps taken.
        """
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments as JSON values."""
        return {}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Evaluator:
        """Returns the evaluator that `get_config` described."""
        return cls(**config)


_EVALUATORS: dict[str, type[Evaluator]] = {}
# Registered when their modules are imported, which happens where they are first named: this package knows
# their names only.
_SHIPPED = {
    "diffusion_bound": "highnoon.evaluation.diffusion_bounds_evaluator",
    "tasks": "highnoon.evaluation.tasks.task_evaluator",
}


def register_evaluator(name: str) -> Callable[[type[Evaluator]], type[Evaluator]]:
    """Registers an evaluator's class under the name that recipes use.

    Raises:
        ConfigError: another class has that name.
    """

    def register(cls: type[Evaluator]) -> type[Evaluator]:
        other = _EVALUATORS.get(name, cls)
        if other.__qualname__ != cls.__qualname__:
            raise ConfigError(f"an evaluator `{name}` is registered already: {other.__qualname__}")
        _EVALUATORS[name] = cls
        return cls

    return register


def evaluators_from_config(values: Any) -> list[Evaluator]:
    """Returns evaluators from a list of evaluators, names, or mappings of `name` and arguments.

    Raises:
        ConfigError: no evaluator has that name, or its arguments do not fit.
    """
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise ConfigError(f"`evaluators` must be a list; received {shown(values)}")
    return [_from_config(value) for value in values]


def _from_config(value: Any) -> Evaluator:
    if isinstance(value, Evaluator):
        return value
    described = dict(value) if isinstance(value, Mapping) else {"name": value}
    name = described.pop("name", None)
    if isinstance(name, str) and name in _SHIPPED:
        importlib.import_module(_SHIPPED[name])
    if not isinstance(name, str) or name not in _EVALUATORS:
        names = sorted({*_EVALUATORS, *_SHIPPED})
        raise ConfigError(
            f"each of `evaluators` must be an Evaluator or one of {names}; received {shown(value)}"
        )
    try:
        return _EVALUATORS[name].from_config(described)
    except TypeError as error:
        raise ConfigError(f"evaluator `{name}`: {error}") from None
