"""An optimizer of Keras from the mapping that describes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from highnoon.config import ConfigError
from highnoon.files.shown import shown
from highnoon.training.optimizers.functional_optimizer import FunctionalOptimizer
from highnoon.training.optimizers.keras_optimizers.named_classes import class_of_name
from highnoon.training.optimizers.keras_optimizers.stateless_optimizer import StatelessOptimizer


def rebuild_optimizer(
    described: Mapping[str, Any], weights: Sequence[keras.Variable], *, is_stateless: bool = True
) -> Any:
    """Returns the optimizer that `describe_optimizer` described, not built yet.

    Args:
        described: The mapping.
        weights: The weights that it may train, in the order of `describe_optimizer`.
        is_stateless: Whether its updates are to be functions of tensors, see `StatelessOptimizer`; without,
            it is an object of its own class alone. A `FunctionalOptimizer` is such a function anyway.

    Raises:
        ConfigError: its class is not known here, or its configuration does not fit.
    """
    cls = class_of_name(described["class_name"], keras.optimizers, keras.optimizers.Optimizer)
    if is_stateless and not issubclass(cls, FunctionalOptimizer):
        cls = type(cls.__name__, (cls, StatelessOptimizer), {"__doc__": cls.__doc__})
    config = dict(described["config"])
    if isinstance(config.get("learning_rate"), Mapping):
        config["learning_rate"] = _schedule(config["learning_rate"])
    try:
        optimizer = cls.from_config(config)
        if excluded := described.get("exclude_from_weight_decay"):
            optimizer.exclude_from_weight_decay(
                var_list=[weights[index] for index in excluded.get("weights", ())],
                var_names=excluded.get("var_names"),
            )
    except (TypeError, ValueError, KeyError, IndexError) as error:
        message = " ".join(str(error).split())
        raise ConfigError(f"`optimizer`: {cls.__name__} refuses {shown(config)}: {message}") from None
    return optimizer


def _schedule(described: Mapping[str, Any]) -> keras.optimizers.schedules.LearningRateSchedule:
    base = keras.optimizers.schedules.LearningRateSchedule
    name, config = described.get("class_name"), described.get("config")
    if not isinstance(name, str) or not isinstance(config, Mapping):
        raise ConfigError(
            "`optimizer`: `learning_rate` must be a number or a mapping of `class_name` and `config`; "
            f"received {shown(described)}"
        )
    cls = class_of_name(name, keras.optimizers.schedules, base)
    try:
        return cls.from_config(dict(config))
    except (TypeError, ValueError, KeyError) as error:
        message = " ".join(str(error).split())
        raise ConfigError(f"`optimizer`: {name} refuses {shown(dict(config))}: {message}") from None
