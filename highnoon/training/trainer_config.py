"""The configuration of a run, from a base and the arguments of `Trainer`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from highnoon.config import ConfigError, TrainingConfig, is_given, resolve_keys
from highnoon.config.optimizer_choice import is_of_keras
from highnoon.training.optimizers.keras_optimizers import describe_optimizer, rebuild_optimizer
from highnoon.training.optimizers.keras_optimizers.require_exact import require_exact


def merge_config(
    base: TrainingConfig | None,
    arguments: dict[str, Any],
    options: dict[str, Any],
    *,
    model: keras.Model,
    is_base_given: bool = True,
) -> TrainingConfig:
    """Lays arguments that were given, and options, over the base.

    Args:
        base: The configuration to start from; None takes the defaults.
        arguments: Those of `Trainer` that have a default of their own.
        options: Further fields; `optimizer` may be an object of Keras.
        model: The model that is trained.
        is_base_given: Whether the user gave the base, so that an optimizer of Keras must agree with it.

    Raises:
        ConfigError: an unknown option, a value out of its range, one field under two names, or an optimizer
            that a run cannot follow exactly.
    """
    known = {field.name for field in dataclasses.fields(TrainingConfig)}
    given = {name: value for name, value in arguments.items() if is_given(value)}
    values = resolve_keys(given | options, known, "Trainer")
    optimizer, weights = values.get("optimizer"), model.trainable_variables
    if isinstance(optimizer, type):
        raise ConfigError(
            f"`optimizer` must be an object; received the class {optimizer.__name__}: give "
            f"{optimizer.__name__}(...)"
        )
    is_object = isinstance(optimizer, keras.optimizers.Optimizer)
    if is_object:
        values["optimizer"] = describe_optimizer(optimizer, weights)
    if base is None:
        base = dataclasses.replace(TrainingConfig(), **arguments)
    if is_base_given and "optimizer" in values and not is_of_keras(base.optimizer):
        # Raises where the base says of the learning rate what an optimizer of Keras brings itself.
        dataclasses.replace(base, **values)
    config = base.updated(values, "Trainer")
    if not is_of_keras(config.optimizer):
        return config
    require_exact(optimizer if is_object else None, config.optimizer)
    return dataclasses.replace(config, optimizer=_complete(config.optimizer, weights))


def with_saved_defaults(config: TrainingConfig, saved: Mapping[str, Any]) -> TrainingConfig:
    """Returns the configuration of a run that resumes: what was not given is as in the run that was saved.

    The learning rate of a preset and the rule of the warm-up may be others than in the version that began the
    run.

    Args:
        config: Of the trainer that resumes.
        saved: `training_config` of the checkpoint.
    """
    values = {
        name: saved[name]
        for name in ("learning_rate", "warmup_steps")
        if not is_given(getattr(config, name)) and saved.get(name) is not None
    }
    return dataclasses.replace(config, **values)


def _complete(described: Mapping[str, Any], weights: Sequence[keras.Variable]) -> dict[str, Any]:
    """Returns the description with the arguments that were left out, whose defaults may change one day."""
    optimizer = rebuild_optimizer(described, weights, is_stateless=False)
    complete = describe_optimizer(optimizer, weights)
    return {**complete, **{key: value for key, value in described.items() if key != "config"}}
