"""The keys of `model` and `training` in a recipe."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from highnoon.config import ConfigError, ModelConfig, TrainingConfig

SECTIONS = ("model", "training")
MODEL_SOURCES = ("path", "hf")
MODEL_SETTINGS = ("dtype", "gradient_checkpointing")
"""Keys of `model` that change how a model computes, and not what it is."""
MODEL_KEYS = frozenset({*MODEL_SOURCES, "family", "task", "lora", *MODEL_SETTINGS})
"""Keys of `model` in addition to the fields of `ModelConfig`."""


def section_keys(section: str) -> set[str]:
    """Returns the keys that `model` or `training` may have."""
    kind: Any = {"model": ModelConfig, "training": TrainingConfig}[section]
    names = {field.name for field in dataclasses.fields(kind)}
    return names | MODEL_KEYS if section == "model" else names


def refuse_keys_of_sections(values: Any, known: set[str], owner: str) -> None:
    """Refuses a key at the top level of a recipe that belongs to a section or to a stage.

    Raises:
        ConfigError: there is such a key.
    """
    for name in values if isinstance(values, Mapping) else ():
        if name in known or not isinstance(name, str):
            continue
        homes = [f"{section}.{name}" for section in SECTIONS if name in section_keys(section)]
        if name in ("data", "dataset", "datasets"):
            homes = ["stages: [{name: train, datasets: PATH}]"]
        if homes:
            line = getattr(values, "lines", {}).get(name)
            location = "" if line is None else f"line {line}: "
            raise ConfigError(f"{location}{owner} has no key `{name}` at the top level; write `{homes[0]}`")
