"""Builds a model from a preset's name, a configuration, or a family's name."""

from __future__ import annotations

import dataclasses
from typing import Any

from highnoon.config import (
    PRESETS,
    Config,
    ConfigError,
    ModelConfig,
    TrainingConfig,
    get_preset_config,
    override,
    require_choice,
)
from highnoon.config.known_arguments import require_known_arguments
from highnoon.files.shown import shown
from highnoon.models.calibration import calibrate
from highnoon.models.causal_lm import LanguageModel
from highnoon.models.dtypes import resolve_dtype
from highnoon.models.families import FAMILIES, family_named
from highnoon.models.memory import require_memory
from highnoon.models.patterns import require_causal

TASKS = ("generation", "classification", "embedding", "block_diffusion")
"""What a model is made for. The first alone needs causal mixers."""
_FIELDS = frozenset(field.name for of in (ModelConfig, TrainingConfig) for field in dataclasses.fields(of))


def create_model(
    name_or_config: str | Config | ModelConfig,
    allow_oversize: bool = False,
    dtype: Any = "auto",
    task: str = "generation",
    **overrides: Any,
) -> Any:
    """Builds a model with new weights.

    Layers that calibrate themselves, such as spiking ones, do so here, see `highnoon.models.calibration`.

    Args:
        name_or_config: A preset (`"highnoon-3b"`, or short `"3b"`), whose learning rate the model carries for
            the `Trainer`; a `Config`, whose training part is saved with the model; a `ModelConfig`; or the
            name of a family, see `register_family`.
        allow_oversize: Build even a model that does not fit into this machine's memory.
        dtype: A dtype policy; `"auto"` takes Keras's own where one was set, else mixed bfloat16 on
            hardware that is fast at it, else float32.
        task: `"generation"` requires causal mixers; `"classification"`, `"embedding"` and
            `"block_diffusion"` do not. The model is the same for each.
        **overrides: Fields of `ModelConfig` or `TrainingConfig` that replace the preset's; for a family the
            arguments of its class.

    Returns:
        A `LanguageModel`, or a model of the family.

    Raises:
        ConfigError: an unknown preset, family, field or value, or a mixer that is not causal in a model for
            generation.
        LimitExceededError: the weights do not fit into memory; nothing was allocated.

    Example:

    ```python
    import highnoon as hn

    model = hn.create_model("highnoon-nano", num_reasoning_blocks=1)
    assert model.count_params() < 1_000_000
    ```
    """
    require_choice("task", task, TASKS)
    if _names_family(name_or_config):
        return family_named(name_or_config).create(dtype, allow_oversize, **overrides)
    require_known_arguments(create_model, overrides, _FIELDS)
    config, carries_training = _resolve(name_or_config)
    config = override(config, **overrides)
    carries_training = carries_training or config.training != TrainingConfig()
    if task == "generation":
        require_causal(config.model)
    require_memory(config.model, allow_oversize)
    model = LanguageModel(
        config=config.model,
        dtype=resolve_dtype(dtype),
        training_config=config.training if carries_training else None,
    )
    calibrate(model)
    return model


def _names_family(name: Any) -> bool:
    """Presets come first: no family can take a preset's name."""
    is_preset = isinstance(name, str) and (name in PRESETS or f"highnoon-{name}" in PRESETS)
    return not is_preset and name in FAMILIES


def _resolve(name_or_config: str | Config | ModelConfig) -> tuple[Config, bool]:
    """The configuration, and whether its training part was given."""
    if isinstance(name_or_config, str):
        try:
            return get_preset_config(name_or_config), True
        except ConfigError as error:
            raise ConfigError(f"{error}; families: {', '.join(FAMILIES.names())}") from None
    if isinstance(name_or_config, ModelConfig):
        return Config(model=name_or_config), False
    if isinstance(name_or_config, Config):
        return name_or_config, True
    raise ConfigError(
        f"`create_model` takes a preset's name, a Config or a ModelConfig; received {shown(name_or_config)}"
    )
