"""The configuration of a run, from a base and the arguments of `Trainer`."""

from __future__ import annotations

import dataclasses
from typing import Any

from highnoon.config import TrainingConfig, is_given, resolve_keys


def merge_config(
    base: TrainingConfig | None, arguments: dict[str, Any], options: dict[str, Any]
) -> TrainingConfig:
    """Lays arguments that were given, and options, over the base.

    Raises:
        ConfigError: an unknown option, a value out of its range, or one field under two names.
    """
    known = {field.name for field in dataclasses.fields(TrainingConfig)}
    given = {name: value for name, value in arguments.items() if is_given(value)}
    values = resolve_keys(given | options, known, "Trainer")
    if base is None:
        base = dataclasses.replace(TrainingConfig(warmup_steps=None), **arguments)
    return dataclasses.replace(base, **values)
