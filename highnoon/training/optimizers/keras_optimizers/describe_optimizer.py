"""An optimizer as plain values, which a run saves and compares when it is resumed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from highnoon.config import ConfigError
from highnoon.config.optimizer_choice import require_optimizer
from highnoon.training.optimizers.functional_optimizer import FunctionalOptimizer
from highnoon.training.optimizers.keras_optimizers.named_classes import name_of_class
from highnoon.training.optimizers.keras_optimizers.stateless_optimizer import StatelessOptimizer

_SCHEDULE = keras.optimizers.schedules.LearningRateSchedule


def describe_optimizer(optimizer: Any, weights: Sequence[keras.Variable]) -> dict[str, Any]:
    """Returns the mapping of an optimizer that `TrainingConfig.optimizer` holds.

    Args:
        optimizer: Given by the user; not changed and not used for training, which makes one of its own.
        weights: The weights that a run may train.

    Raises:
        ConfigError: the optimizer cannot be made again from its configuration, or has taken steps already.
    """
    name = type(optimizer).__name__
    if isinstance(optimizer, StatelessOptimizer):
        raise ConfigError(
            f"`optimizer` is the {name} of another run; give a new one, such as keras.optimizers.{name}(...)"
        )
    if int(keras.ops.convert_to_numpy(optimizer.iterations)):
        raise ConfigError(
            f"`optimizer` has taken {int(keras.ops.convert_to_numpy(optimizer.iterations)):,} steps already, "
            f"and a run begins with empty slots; give a new one: {name}.from_config(optimizer.get_config())"
        )
    class_name = name_of_class(type(optimizer), keras.optimizers)
    rate = getattr(optimizer, "_learning_rate", None)
    if not isinstance(rate, (_SCHEDULE, keras.Variable)):
        raise ConfigError(
            f"`optimizer`: the learning rate of {name} is a function, which cannot be saved with the run; "
            "give a float or a schedule of keras.optimizers.schedules"
        )
    config = optimizer.get_config()
    if isinstance(rate, _SCHEDULE):
        config["learning_rate"] = _describe_schedule(rate)
    described = {"class_name": class_name, "config": config}
    if excluded := _exclusions(optimizer, weights):
        described["exclude_from_weight_decay"] = excluded
    checked = require_optimizer(described)
    assert isinstance(checked, dict)
    return checked


def _describe_schedule(schedule: keras.optimizers.schedules.LearningRateSchedule) -> dict[str, Any]:
    config = {key: value for key, value in schedule.get_config().items() if key != "name"}
    return {"class_name": name_of_class(type(schedule), keras.optimizers.schedules), "config": config}


def _exclusions(optimizer: Any, weights: Sequence[keras.Variable]) -> dict[str, Any]:
    """Returns what `exclude_from_weight_decay` was called with, which `get_config` does not tell."""
    if isinstance(optimizer, FunctionalOptimizer):
        return {}
    pattern = getattr(optimizer, "_exclude_from_weight_decay_pattern", None)
    keys = getattr(optimizer, "_exclude_from_weight_decay", None) or set()
    indices = [index for index, weight in enumerate(weights) if optimizer._var_key(weight) in keys]
    if len(indices) < len(keys):
        raise ConfigError(
            "`optimizer`: exclude_from_weight_decay(var_list=...) names variables that the model does not "
            "train; give those of the model, or `var_names`"
        )
    names = [] if pattern is None else [pattern.pattern]
    return {key: value for key, value in (("var_names", names), ("weights", indices)) if value}
