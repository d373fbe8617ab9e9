"""Makes a model from a preset's name or a folder, as the `from_preset` of KerasHub does."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable
from typing import Any

from highnoon.config import PRESETS, ConfigError, require_path
from highnoon.files.foreign import ForeignDataError, read_json
from highnoon.files.nearest_name import suggestion
from highnoon.files.print_text import print_text

_OF_KERAS_HUB = "registered_name"


def from_preset(
    cls: type,
    preset: str | os.PathLike[str],
    load_weights: bool,
    from_keras_hub: Callable[..., Any],
    **options: Any,
) -> Any:
    """Returns the model of a preset.

    Args:
        cls: The class that the model must have.
        preset: A name of `PRESETS`, or a folder: a saved model, a run, a checkpoint, of Hugging Face, or a
            KerasHub preset.
        load_weights: Whether to read the weights of a folder; else they are new.
        from_keras_hub: KerasHub's own `from_preset`.
        **options: Fields that replace those of a named preset, or `dtype` and `allow_oversize`.

    Raises:
        ConfigError: there is no such preset and no such folder, or an option does not fit.
        ModelFolderError: a folder cannot be read.
    """
    preset = require_path("preset", preset, ConfigError)
    from highnoon.models.create import create_model
    from highnoon.models.loading import load_model

    if _is_name(preset):
        if load_weights:
            print_text(f"{preset} is a configuration: its weights are new, train the model before you use it")
        return create_model(preset, **options)
    if is_keras_hub_preset(preset):
        return from_keras_hub(preset, load_weights=load_weights, **options)
    if not _exists(preset):
        raise ConfigError(
            f"there is no preset or folder `{preset}`; {suggestion(preset, PRESETS, 'presets')}; download "
            "a hub's files first, or read a preset of KerasHub by keras_hub.models.CausalLM.from_preset"
        )
    fields = [name for name in options if name not in ("dtype", "allow_oversize")]
    if fields:
        raise ConfigError(f"the model of a folder has its own {', '.join(fields)}; leave them out")
    model = load_model(preset, **options)
    if not isinstance(model, cls):
        raise ConfigError(
            f"{preset} holds a {type(model).__name__}, no {cls.__name__}; read it by hn.load_model"
        )
    return model if load_weights else _with_new_weights(model)


def is_keras_hub_preset(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder was written by the `save_to_preset` of a KerasHub model."""
    file = pathlib.Path(folder) / "config.json"
    try:
        return file.is_file() and _OF_KERAS_HUB in read_json(file)
    except ForeignDataError:
        return False


def _is_name(preset: str) -> bool:
    return preset in PRESETS or f"highnoon-{preset}" in PRESETS


def _exists(preset: str) -> bool:
    """Whether a path, or what a role such as `my-run/best` belongs to, exists."""
    path = pathlib.Path(preset)
    return path.exists() or (len(path.parts) > 1 and path.parent.is_dir())


def _with_new_weights(model: Any) -> Any:
    from highnoon.models.calibration import calibrate

    other = type(model)(config=model.config, dtype=model.dtype_policy, training_config=model.training_config)
    calibrate(other)
    other.tokenizer = model.tokenizer
    return other
