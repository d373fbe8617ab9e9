"""What a checkpoint folder holds: the model's own files, the optimizer's arrays, the state."""

from __future__ import annotations

import pathlib
from typing import Any

import keras
import numpy as np
import psutil

from highnoon.models import LimitExceededError
from highnoon.models.arrays import assign_arrays, load_arrays, save_arrays, variable_arrays, variable_names
from highnoon.models.saving import WEIGHTS_FILE, write_model_files
from highnoon.tokenization import load_tokenizer
from highnoon.training import adaptive_curriculum, curriculum
from highnoon.training.checkpoint import STATE, CheckpointError, write_json
from highnoon.training.stages import CurriculumStage

OPTIMIZER_FILE = "optimizer.safetensors"
TOKENIZER_FILE = "tokenizer.json"
_SCHEDULERS: dict[str, type[curriculum.CurriculumScheduler]] = {
    "CurriculumScheduler": curriculum.CurriculumScheduler,
    "AdaptiveCurriculumScheduler": adaptive_curriculum.AdaptiveCurriculumScheduler,
}


def write(
    folder: pathlib.Path,
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer | None,
    tokenizer: Any | None,
    state: dict[str, Any],
) -> None:
    """Writes model, optimizer and state into an existing folder."""
    write_model_files(model, folder)
    if tokenizer is not None and not (folder / TOKENIZER_FILE).exists():
        tokenizer.save(folder)
    save_arrays(folder / OPTIMIZER_FILE, _training_arrays(model, optimizer))
    versions = {"keras": keras.version(), "numpy": np.__version__}
    write_json(folder / STATE, {"format": 1, "versions": versions, **state})


def restore(model: keras.Model, optimizer: keras.optimizers.Optimizer, folder: pathlib.Path) -> None:
    """Gives model and optimizer the arrays of a checkpoint.

    Raises:
        CheckpointError: they belong to another model.
    """
    restore_model(model, folder)
    arrays = load_arrays(folder / OPTIMIZER_FILE)
    _assign(optimizer.variables, _under("optimizer/", arrays), f"the optimizer saved in {folder}")
    _assign(_random_states(model), _under("random/", arrays), f"the random states saved in {folder}")


def restore_model(model: keras.Model, folder: pathlib.Path) -> None:
    """Gives a model the weights of a checkpoint.

    Raises:
        CheckpointError: they belong to another model.
    """
    _assign(model.weights, load_arrays(folder / WEIGHTS_FILE), f"the model saved in {folder}")


def require_same_model(model: keras.Model, folder: pathlib.Path) -> None:
    """Raises CheckpointError where a checkpoint's weights do not fit the model, which stays as it is."""
    saved = {name: array.shape for name, array in load_arrays(folder / WEIGHTS_FILE).items()}
    ours = {
        name: tuple(weight.shape)
        for name, weight in zip(variable_names(model.weights), model.weights, strict=True)
    }
    wrong = sorted(name for name in {*saved, *ours} if saved.get(name) != ours.get(name))
    if wrong:
        shapes = (
            f"{wrong[0]} is {ours.get(wrong[0], 'absent')} here and {saved.get(wrong[0], 'absent')} there"
        )
        raise CheckpointError(
            f"{folder} holds another model: {len(wrong)} of {len({*saved, *ours})} weights differ "
            f"({shapes}); create the model with the configuration in its config.json"
        )


def read_tokenizer(folder: pathlib.Path) -> Any | None:
    """Returns the tokenizer that lies in a folder, or None."""
    return load_tokenizer(folder) if (folder / TOKENIZER_FILE).exists() else None


def stage_from_dict(values: dict[str, Any]) -> CurriculumStage:
    """Returns the stage that `CurriculumStage.to_dict` described.

    Raises:
        CheckpointError: its scheduler is of a class that HighNoon does not have.
    """
    names, shares, scheduler = values["datasets"], values["shares"], values["scheduler"]
    if scheduler is not None and scheduler["class"] not in _SCHEDULERS:
        raise CheckpointError(
            f"stage `{values['name']}` used a {scheduler['class']}; add the stages to the trainer before "
            "it goes on"
        )
    return CurriculumStage(
        name=values["name"],
        datasets=names if shares is None else list(zip(names, shares, strict=True)),
        epochs=values["epochs"],
        steps=values["steps"],
        weight=values["weight"],
        config_overrides=values["config_overrides"],
        scheduler=scheduler and _SCHEDULERS[scheduler["class"]].from_config(scheduler["config"]),
    )


def require_memory(model: keras.Model, allow_oversize: bool) -> None:
    """Raises LimitExceededError where gradients and AdamW's slots cannot fit beside the weights."""
    needed = sum(
        3 * weight.value.dtype.size * int(np.prod(weight.shape)) for weight in model.trainable_weights
    )
    available = psutil.virtual_memory().available
    if needed > available and not allow_oversize:
        raise LimitExceededError(
            f"training {model.count_params():,} parameters needs {needed / 2**30:.1f} GiB for gradients and "
            f"AdamW's moments beside the weights; this machine has {available / 2**30:.1f} GiB free. "
            "Choose a smaller preset, or pass allow_oversize=True"
        )


def _training_arrays(
    model: keras.Model, optimizer: keras.optimizers.Optimizer | None
) -> dict[str, np.ndarray]:
    slots = variable_arrays(optimizer.variables) if optimizer is not None else {}
    arrays = {f"optimizer/{name}": array for name, array in slots.items()}
    return arrays | {
        f"random/{name}": array for name, array in variable_arrays(_random_states(model)).items()
    }


def _random_states(model: keras.Model) -> list[keras.Variable]:
    """Returns the variables that are no weights: the states of dropout's seed generators."""
    weights = {id(weight) for weight in model.weights}
    return [variable for variable in model.variables if id(variable) not in weights]


def _under(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _assign(variables: list[keras.Variable], arrays: dict[str, np.ndarray], owner: str) -> None:
    try:
        assign_arrays(variables, arrays, owner)
    except ValueError as error:
        raise CheckpointError(str(error)) from error
