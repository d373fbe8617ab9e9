"""Which optimizer a run uses: one of this package by name, or one of Keras as a mapping."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any, TypeGuard

from highnoon.config.config_error import ConfigError
from highnoon.config.defaults import is_given
from highnoon.config.ranges import require_number
from highnoon.files.nearest_name import nearest_name
from highnoon.files.shown import shown

OPTIMIZERS = ("adamw", "adafactor", "lion", "muon")
KERAS_OPTIMIZERS = (
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Ftrl",
    "Lamb",
    "Lion",
    "LossScaleOptimizer",
    "MultiOptimizer",
    "Muon",
    "Nadam",
    "RMSprop",
    "SGD",
    "ScheduleFreeAdamW",
)
SEPARATOR = ">"
"""Separates package and name of a class that is not Keras's own, as in `keras.saving`."""

_KEYS = ("class_name", "config", "exclude_from_weight_decay")
_KEYS_OF_KERAS = ("module", "registered_name", "build_config")
_SCHEDULE_PEAKS = ("warmup_target", "initial_learning_rate")


@dataclasses.dataclass(frozen=True)
class _Brought:
    """A field that an optimizer of Keras makes meaningless.

    Args:
        neutral: Its value in such a run.
        instead: What to give instead.
    """

    neutral: Any
    instead: str


_SCHEDULE = "learning_rate=keras.optimizers.schedules.CosineDecay(...) of the optimizer"
BROUGHT: dict[str, _Brought] = {
    "learning_rate": _Brought(None, "the optimizer's own `learning_rate`"),
    "warmup_steps": _Brought(0, _SCHEDULE),
    "schedule": _Brought("constant", _SCHEDULE),
    "decay_ratio": _Brought(0.2, _SCHEDULE),
    "min_learning_rate_ratio": _Brought(0.1, _SCHEDULE),
    "learning_rate_scaling": _Brought("none", "the optimizer's own `learning_rate`"),
    "gradient_clip": _Brought(None, "`global_clipnorm` of the optimizer"),
    "weight_decay": _Brought(0.0, "`weight_decay` of the optimizer"),
    "ema_momentum": _Brought(None, "`use_ema=True` and `ema_momentum` of the optimizer"),
    "adam_beta1": _Brought(0.9, "`beta_1` of the optimizer"),
    "adam_beta2": _Brought(0.999, "`beta_2` of the optimizer"),
    "adam_epsilon": _Brought(1e-8, "`epsilon` of the optimizer"),
    "muon_momentum": _Brought(0.95, "`momentum` of the optimizer"),
}
"""The fields of `TrainingConfig` that an optimizer of Keras, which brings its own, leaves no use for."""


def is_of_keras(optimizer: Any) -> TypeGuard[Mapping[str, Any]]:
    """Whether a checked `optimizer` brings its own learning rate, decay and clipping."""
    return isinstance(optimizer, Mapping)


def optimizer_name(optimizer: Any) -> str:
    """Returns what a table or a message calls a checked `optimizer`."""
    return str(optimizer.get("class_name")) if is_of_keras(optimizer) else str(optimizer)


def require_optimizer(value: Any) -> str | dict[str, Any]:
    """Returns the checked value of `TrainingConfig.optimizer`.

    Args:
        value: A name of `OPTIMIZERS`, the name of an optimizer of Keras, or a mapping of `class_name` (also
            `name`) and `config`, its arguments.

    Returns:
        A name of `OPTIMIZERS`, or a mapping of `class_name`, `config` and optionally
        `exclude_from_weight_decay` for an optimizer of Keras.

    Raises:
        ConfigError: there is no such optimizer, or the mapping has another form.
    """
    if isinstance(value, str):
        own = {name.lower(): name for name in OPTIMIZERS}.get(value.lower())
        return own or {"class_name": _class_name(value), "config": {}}
    if not isinstance(value, Mapping):
        raise ConfigError(
            f"`optimizer` must be one of {', '.join(OPTIMIZERS)}, an optimizer of Keras, or a mapping of "
            f"`class_name` and `config`; received {shown(value)}"
        )
    values = {key: entry for key, entry in value.items() if key not in _KEYS_OF_KERAS}
    if "name" in values and "class_name" not in values:
        values["class_name"] = values.pop("name")
    unknown = [key for key in values if key not in _KEYS]
    config = values.get("config") or {}
    if unknown or "class_name" not in values or not isinstance(config, Mapping):
        raise ConfigError(
            "`optimizer` as a mapping must have `class_name` and `config`, such as {class_name: SGD, config: "
            f"{{learning_rate: 0.1}}}}; received {shown(value)}"
        )
    # The name of an optimizer is numbered differently in each process and changes nothing.
    kept = {key: entry for key, entry in config.items() if key != "name"}
    checked = {"class_name": _class_name(values["class_name"]), "config": kept}
    if excluded := values.get("exclude_from_weight_decay"):
        checked["exclude_from_weight_decay"] = excluded
    try:
        return dict(json.loads(json.dumps(checked)))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"`optimizer`: its config must hold JSON values alone; {error}") from None


def with_brought_fields(config: Any) -> dict[str, Any]:
    """Returns the fields of a `TrainingConfig` that its optimizer of Keras sets.

    Args:
        config: The configuration, its `optimizer` checked.

    Raises:
        ConfigError: one of them has a value of its own.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(config)}
    optimizer, rate = config.optimizer, config.learning_rate
    if "learning_rate" not in optimizer["config"] and is_given(rate):
        # The name of an optimizer and a learning rate, as in SGD(learning_rate).
        optimizer = {**optimizer, "config": {**optimizer["config"], "learning_rate": rate}}
    for name in BROUGHT:
        value = getattr(config, name)
        if is_given(value) and value != defaults[name]:
            require_not_brought(optimizer, name, value)
    own = _learning_rate(optimizer)
    values = {name: brought.neutral for name, brought in BROUGHT.items()}
    return {**values, "optimizer": optimizer, "learning_rate": rate if own is None else own}


def require_not_brought(optimizer: Mapping[str, Any], name: str, value: Any) -> None:
    """Refuses a value of a field that an optimizer of Keras brings itself.

    Args:
        optimizer: The checked optimizer.
        name: A field of `BROUGHT`.
        value: What was given for it.

    Raises:
        ConfigError: it is another value than that of such runs.
    """
    own = _learning_rate(optimizer)
    accepted = [BROUGHT[name].neutral, *([None] if name == "warmup_steps" else [])]
    is_own_rate = name == "learning_rate" and (own is None or math.isclose(value, own, rel_tol=1e-6))
    if value not in accepted and not is_own_rate:
        raise ConfigError(
            f"`optimizer` is {optimizer_name(optimizer)} of Keras, which brings its own learning rate, decay "
            f"and clipping: leave `{name}` out and give {BROUGHT[name].instead}"
        )


def _class_name(name: Any) -> str:
    if isinstance(name, str) and SEPARATOR in name:
        return name
    known = {other.lower(): other for other in KERAS_OPTIMIZERS}
    if isinstance(name, str) and name.lower() in known:
        return known[name.lower()]
    near = nearest_name(name.lower() if isinstance(name, str) else name, [*OPTIMIZERS, *known])
    hint = f"did you mean `{near}`?" if near is not None else f"those of Keras: {', '.join(KERAS_OPTIMIZERS)}"
    raise ConfigError(
        f"`optimizer` must be one of {', '.join(OPTIMIZERS)} or an optimizer of Keras; received "
        f"{shown(name)}; {hint}"
    )


def _learning_rate(optimizer: Mapping[str, Any]) -> float | None:
    """Returns the learning rate that an optimizer starts or peaks with, where its config says it."""
    rate = optimizer["config"].get("learning_rate")
    if isinstance(rate, Mapping):
        of_schedule = rate.get("config") or {}
        values = of_schedule.get("values")
        rates = [of_schedule.get(key) for key in _SCHEDULE_PEAKS]
        rates += [max(values)] if isinstance(values, list) and values else []
        return next((float(rate) for rate in rates if isinstance(rate, (int, float))), None)
    return None if rate is None else require_number("optimizer.config.learning_rate", rate, least=0)
