"""Whether a run can take the updates of an optimizer exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from highnoon.config import ConfigError
from highnoon.training.optimizers.functional_optimizer import FunctionalOptimizer
from highnoon.training.optimizers.keras_optimizers.rebuild_optimizer import rebuild_optimizer

_STEPS = 3
_SHAPES = {"kernel": (4, 3), "bias": (3,)}
_PLAIN = (bool, int, float, str)

_REFUSED = {
    "LossScaleOptimizer": "the trainer scales the loss of float16 itself; give its `inner_optimizer`",
    "MultiOptimizer": "a run has one optimizer; give one, and stages with `trainable=` for parts",
}
_REFUSED_ARGUMENTS = {
    "gradient_accumulation_steps": "give Trainer(gradient_accumulation_steps=...), which sums micro-batches "
    "into one step",
    "loss_scale_factor": "leave it out: the trainer scales the loss of float16 itself",
}


def require_exact(optimizer: Any, described: Mapping[str, Any]) -> None:
    """Refuses an optimizer that a run cannot follow exactly, before its first step.

    It is compared with Keras: both take a few steps on two small weights.

    Args:
        optimizer: As the user gave it; None where it is known by its description alone.
        described: Its description.

    Raises:
        ConfigError: the reason, and what to do instead.
    """
    name, config = described["class_name"], described["config"]
    if name in _REFUSED:
        raise ConfigError(f"`optimizer` cannot be {name}: {_REFUSED[name]}")
    for key, remedy in _REFUSED_ARGUMENTS.items():
        if config.get(key) is not None:
            raise ConfigError(f"`optimizer` cannot have `{key}={config[key]}`: {remedy}")
    own = rebuild_optimizer(described, [], is_stateless=False) if _excludes_none(described) else None
    if optimizer is not None and own is not None:
        _require_complete_config(optimizer, own)
    if isinstance(own, FunctionalOptimizer):
        for key in ("clipnorm", "clipvalue"):
            if config.get(key) is not None:
                raise ConfigError(
                    f"`optimizer`: {name} has no `{key}` in a run; give `global_clipnorm`, or clip nothing"
                )
        return
    without = {key: value for key, value in described.items() if key != "exclude_from_weight_decay"}
    _require_equal_updates(without)


def _excludes_none(described: Mapping[str, Any]) -> bool:
    return not described.get("exclude_from_weight_decay", {}).get("weights")


def _require_complete_config(optimizer: Any, again: Any) -> None:
    """Refuses a class whose `get_config` forgets an attribute: made again it would be another optimizer."""
    values = {key: value for key, value in vars(optimizer).items() if isinstance(value, _PLAIN)}
    for key, value in values.items():
        if key.startswith("_") or key in ("name", "built"):
            continue
        if vars(again).get(key) != value:
            raise ConfigError(
                f"`optimizer`: {type(optimizer).__name__} made again from its `get_config()` has "
                f"{key}={vars(again).get(key)!r} instead of {value!r}; let `get_config` return `{key}`"
            )


def _require_equal_updates(described: Mapping[str, Any]) -> None:
    name = described["class_name"]
    theirs, ours = _weights(), _weights()
    reference = rebuild_optimizer(described, [], is_stateless=False)
    optimizer = rebuild_optimizer(described, [])
    generator = np.random.default_rng(0)
    steps = [
        [generator.normal(size=shape).astype("float32") for shape in _SHAPES.values()] for _ in range(_STEPS)
    ]
    before: dict[str, Any] = {}
    try:
        optimizer.build(ours)
        before = _plain_values(optimizer)
        for gradients in steps:
            reference.apply([keras.ops.convert_to_tensor(gradient) for gradient in gradients], theirs)
            _take_step(optimizer, ours, gradients)
    except Exception as error:
        message = " ".join(str(error).split())[:300]
        raise ConfigError(
            f"`optimizer`: the updates of {name} cannot be computed on tensors, as a run does "
            f"({type(error).__name__}: {message}); assign variables with `self.assign` or `Variable.assign` "
            "alone, or use another optimizer"
        ) from None
    changed = sorted(key for key, value in _plain_values(optimizer).items() if before.get(key) != value)
    if changed:
        raise ConfigError(
            f"`optimizer`: {name} counts in its attribute `{changed[0]}`, which no checkpoint would hold; "
            "use `self.add_variable`"
        )
    for one, other in zip(ours, theirs, strict=True):
        if not np.allclose(_array(one), _array(other), rtol=1e-5, atol=1e-6):
            raise ConfigError(
                f"`optimizer`: {name} gives other weights when its update is a function of tensors, as a run "
                "computes it, than in Keras, so a run could not be exact; use another, such as AdamW"
            )


def _take_step(optimizer: Any, weights: Sequence[keras.Variable], gradients: Sequence[np.ndarray]) -> None:
    variables = optimizer.variables
    new_weights, new_values = optimizer.updated(
        [keras.ops.convert_to_tensor(gradient) for gradient in gradients],
        weights,
        [keras.ops.copy(weight.value) for weight in weights],
        [keras.ops.copy(variable.value) for variable in variables],
    )
    for variable, value in zip([*weights, *variables], [*new_weights, *new_values], strict=True):
        variable.assign(value)


def _weights() -> list[keras.Variable]:
    generator = np.random.default_rng(1)
    return [
        keras.Variable(generator.normal(size=shape).astype("float32"), name=name)
        for name, shape in _SHAPES.items()
    ]


def _plain_values(optimizer: Any) -> dict[str, Any]:
    kept = {key: value for key, value in vars(optimizer).items() if isinstance(value, (bool, int, float))}
    return {key: value for key, value in kept.items() if key not in ("built", "_built")}


def _array(variable: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(variable))
