"""What a checkpoint folder holds: the model's own files, the optimizer's arrays, the state."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from highnoon import __version__
from highnoon.models.arrays import (
    array_shapes,
    assign_arrays,
    load_arrays,
    save_arrays,
    variable_arrays,
    variable_names,
)
from highnoon.models.saving import WEIGHTS_FILE, capture_model, saved_weights
from highnoon.tokenization import load_tokenizer
from highnoon.training.checkpoints.checkpoint import STATE, CheckpointError
from highnoon.training.curricula import adaptive_curriculum, curriculum
from highnoon.training.objective import objective_from_config
from highnoon.training.plans.stages import LENGTHS, CurriculumStage
from highnoon.training.steps.step_state import StepState

OPTIMIZER_FILE = "optimizer.safetensors"
TRAINED = "trained/"
"""Prefix of the names of weights from which training continues, where the model's own file has others."""
OPTIMIZER, OBJECTIVE = "optimizer/", "objective/"
"""Prefixes of the names of the optimizer's arrays and of the objectives' random states."""
TOKENIZER_FILE = "tokenizer.json"
_SCHEDULERS: dict[str, type[curriculum.CurriculumScheduler]] = {
    "CurriculumScheduler": curriculum.CurriculumScheduler,
    "AdaptiveCurriculumScheduler": adaptive_curriculum.AdaptiveCurriculumScheduler,
}


def capture(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer | None,
    step_state: StepState | None,
    tokenizer: Any | None,
    state: dict[str, Any],
    trained_weights: Mapping[str, np.ndarray] | None = None,
    objective_states: Mapping[str, keras.Variable] | None = None,
) -> Callable[[pathlib.Path], None]:
    """Copies all that a checkpoint holds to the host and returns what writes it into an existing folder.

    The copy is made between two steps; another thread may write it while further steps run.

    Args:
        model: The model.
        optimizer: Its slots; None before training.
        step_state: What the step remembers; None before training.
        tokenizer: Written next to the model; None for none.
        state: Position of the run, as JSON values.
        trained_weights: The weights that training continues with, if the model's are others.
        objective_states: Random states of the objectives, by name.
    """
    write_model = capture_model(model)
    arrays = _training_arrays(model, optimizer, step_state)
    arrays |= {
        OBJECTIVE + name: keras.ops.convert_to_numpy(variable)
        for name, variable in (objective_states or {}).items()
    }
    arrays |= {TRAINED + name: array for name, array in (trained_weights or {}).items()}
    versions = {"highnoon": __version__, "keras": keras.version(), "numpy": np.__version__}
    text = json.dumps({"format": 1, "versions": versions, **state}, indent=1)

    def write(folder: pathlib.Path) -> None:
        write_model(folder)
        if tokenizer is not None and not (folder / TOKENIZER_FILE).exists():
            tokenizer.save(folder)
        save_arrays(folder / OPTIMIZER_FILE, arrays)
        (folder / STATE).write_text(text, encoding="utf-8")

    return write


def restore(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    step_state: StepState,
    folder: pathlib.Path,
    objective_states: Mapping[str, keras.Variable] | None = None,
    weight_paths: Sequence[str] | None = None,
) -> None:
    """Gives model, optimizer, step and objectives the arrays of a checkpoint.

    Args:
        model: The model.
        optimizer: Built for the weights that were trained.
        step_state: What the step remembers.
        folder: The checkpoint.
        objective_states: Random states of objectives, by name.
        weight_paths: Paths of the model's weights when the checkpoint was written. Keras numbers layers
            without a name differently in each process, and slots are named after these paths.

    Raises:
        CheckpointError: they belong to another model or optimizer.
    """
    arrays = _follow_paths(load_arrays(folder / OPTIMIZER_FILE), weight_paths, model)
    weights = load_arrays(folder / WEIGHTS_FILE) | under(TRAINED, arrays)
    _assign(saved_weights(model), weights, f"the model saved in {folder}")
    states = objective_states or {}
    for name, variable in states.items():
        if OBJECTIVE + name not in arrays or arrays[OBJECTIVE + name].shape != variable.shape:
            raise CheckpointError(
                f"{folder} has no random state {name} of an objective: the run's objectives had others; "
                "resume with the objectives that it began with"
            )
        variable.assign(arrays[OBJECTIVE + name])
    for prefix, variables, owner in (
        (OPTIMIZER, optimizer.variables, "optimizer"),
        ("random/", _random_states(model), "random states"),
        ("step/", step_state.variables, "state of the step"),
    ):
        _assign(variables, under(prefix, arrays), f"the {owner} saved in {folder}")


def _follow_paths(
    arrays: dict[str, np.ndarray], weight_paths: Sequence[str] | None, model: keras.Model
) -> dict[str, np.ndarray]:
    """Names the optimizer's slots after the paths that the model's weights have in this process."""
    if weight_paths is None or len(weight_paths) != len(model.weights):
        return arrays
    pairs = zip(weight_paths, (weight.path for weight in model.weights), strict=True)
    changed = {OPTIMIZER + _flat(old) + "_": OPTIMIZER + _flat(new) + "_" for old, new in pairs if old != new}
    starts = sorted(changed, key=len, reverse=True)

    def name_now(name: str) -> str:
        start = next((start for start in starts if name.startswith(start)), None)
        return name if start is None else changed[start] + name.removeprefix(start)

    return {name_now(name): array for name, array in arrays.items()}


def _flat(path: str) -> str:
    return path.replace("/", "_")


def restore_model(model: keras.Model, folder: pathlib.Path) -> None:
    """Gives a model the weights of a checkpoint.

    Raises:
        CheckpointError: they belong to another model.
    """
    _assign(saved_weights(model), load_arrays(folder / WEIGHTS_FILE), f"the model saved in {folder}")


def require_same_model(model: keras.Model, folder: pathlib.Path) -> None:
    """Raises CheckpointError where a checkpoint's weights do not fit the model, which stays as it is."""
    saved, weights = array_shapes(folder / WEIGHTS_FILE), saved_weights(model)
    ours = {name: tuple(weight.shape) for name, weight in zip(variable_names(weights), weights, strict=True)}
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
    """Returns the tokenizer in a folder, or None."""
    return load_tokenizer(folder) if (folder / TOKENIZER_FILE).exists() else None


def stage_from_dict(values: dict[str, Any]) -> CurriculumStage:
    """Returns the stage that `CurriculumStage.to_dict` described.

    Raises:
        CheckpointError: its scheduler is of a class that HighNoon does not have, or the description does not
            fit.
    """
    try:
        return _stage_from_dict(values)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"a stage of the saved run cannot be read ({type(error).__name__}: {error}); add the stages to "
            "the trainer before it resumes"
        ) from error


def _stage_from_dict(values: dict[str, Any]) -> CurriculumStage:
    names, weights, scheduler = values["datasets"], values["shares"], values["scheduler"]
    if scheduler is not None and scheduler["class"] not in _SCHEDULERS:
        raise CheckpointError(
            f"stage `{values['name']}` used a {scheduler['class']}; add the stages to the trainer before "
            "it resumes"
        )
    same = {
        key: values[key]
        for key in ("name", "weight", "config_overrides", "balance", "max_repeats", "optional", *LENGTHS)
    }
    return CurriculumStage(
        **same,
        datasets=names if weights is None else list(zip(names, weights, strict=True)),
        scheduler=scheduler and _SCHEDULERS[scheduler["class"]].from_config(scheduler["config"]),
        # Runs of older versions predict the next token and train all weights.
        objective=objective_from_config(values.get("objective")),
        trainable=values.get("trainable"),
        validation_data=values.get("validation_data"),
        tasks=values.get("tasks"),
    )


def _training_arrays(
    model: keras.Model, optimizer: keras.optimizers.Optimizer | None, step_state: StepState | None
) -> dict[str, np.ndarray]:
    owners = {
        OPTIMIZER: optimizer.variables if optimizer is not None else [],
        "random/": _random_states(model),
        "step/": step_state.variables if step_state is not None else [],
    }
    return {
        prefix + name: array
        for prefix, variables in owners.items()
        for name, array in variable_arrays(variables).items()
    }


def _random_states(model: keras.Model) -> list[keras.Variable]:
    """Returns the variables that are no weights: the states of dropout's seed generators."""
    weights = {id(weight) for weight in model.weights}
    return [variable for variable in model.variables if id(variable) not in weights]


def under(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the arrays whose names have a prefix, without it."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _assign(variables: list[keras.Variable], arrays: dict[str, np.ndarray], owner: str) -> None:
    try:
        assign_arrays(variables, arrays, owner)
    except ValueError as error:
        raise CheckpointError(str(error)) from error
