"""The checks of a recipe that need neither a model nor data, made before either is loaded."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from highnoon.config import ConfigError, require_choice, require_flag, resolve_keys, shown
from highnoon.training.recipes.recipe import Recipe
from highnoon.training.recipes.recipe_stages import (
    as_fields,
    make_objective,
    stage_arguments,
    task_mix_arguments,
)

_LORA_KEYS = {"rank", "target_layer_names", "alpha"}
_DTYPES = ("auto", "float32", "mixed_bfloat16", "mixed_float16")


def check_recipe(recipe: Recipe) -> list[dict[str, Any]]:
    """Checks configuration, stages, callbacks and folders of a run.

    Returns:
        Arguments of `Trainer.add_curriculum_stage`, one mapping for each of the recipe's own stages.

    Raises:
        ConfigError: something that the run would refuse, now or in the middle.
    """
    from highnoon.training.curricula.task_mix import task_mix_stages
    from highnoon.training.evaluators import evaluators_from_config
    from highnoon.training.plans.stages import CurriculumStage

    recipe.config()
    _check_model(recipe.model)
    if recipe.tasks and not recipe.curriculum:
        raise ConfigError("`tasks` are for `curriculum`, which is not given; give it, or leave `tasks` out")
    if recipe.objective is not None:
        make_objective(recipe.objective, "`objective`")
    evaluators_from_config(recipe.evaluators)
    stages = [stage_arguments(stage) for stage in recipe.stages]
    made = [CurriculumStage(**as_fields(stage)) for stage in stages]
    if recipe.has_task_mix:
        made += task_mix_stages(**task_mix_arguments(recipe))
    names = [stage.name for stage in made]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"there are two stages {shown(name)}; stages need distinct names")
    recipe_callbacks(recipe, is_chief=True)
    _check_folders(recipe)
    return stages


def recipe_callbacks(recipe: Recipe, is_chief: bool) -> list[Any]:
    """Returns the callbacks that a recipe asks for: alert rules on every worker, the others on the chief.

    Raises:
        ConfigError: an argument of one of them that it does not have, or that is out of its range.
    """
    from highnoon.callbacks import Alerts, SampleText, WandbLog

    makers = {
        "alerts": (lambda: Alerts(**recipe.alerts), True),
        "sample_prompts": (lambda: SampleText(recipe.sample_prompts), is_chief),
        "wandb": (lambda: WandbLog(**recipe.wandb), is_chief),
    }
    callbacks: list[Any] = []
    for name, (make, is_wanted) in makers.items():
        if is_wanted and getattr(recipe, name):
            try:
                callbacks.append(make())
            except ValueError as error:
                raise ConfigError(f"`{name}`: {error}") from None
    return callbacks


def require_writable(name: str, folder: pathlib.Path) -> None:
    """Checks that files can be written to a folder, or that it can be made.

    Raises:
        ConfigError: they cannot.
    """
    try:
        existing = folder
        while not existing.exists() and existing != existing.parent:
            existing = existing.parent
        if not existing.is_dir():
            raise ConfigError(f"`{name}` must be a folder; {existing} is a file")
        if not os.access(existing, os.W_OK | os.X_OK):
            raise ConfigError(f"`{name}` must be a folder that can be written; {existing} cannot")
    except OSError as error:
        raise ConfigError(
            f"`{name}` must be a folder: {error.strerror}; received {shown(str(folder))}"
        ) from None


def _check_model(model: Mapping[str, Any]) -> None:
    if "dtype" in model:
        require_choice("model.dtype", model["dtype"], _DTYPES)
    require_flag("model.gradient_checkpointing", model.get("gradient_checkpointing", False))
    if model.get("lora") is not None:
        lora = model["lora"]
        if not isinstance(lora, Mapping) or "rank" not in resolve_keys(lora, _LORA_KEYS, "`model.lora`"):
            raise ConfigError(f"`model.lora` must be a mapping with `rank`; received {shown(lora)}")


def _check_folders(recipe: Recipe) -> None:
    from highnoon.training.checkpoints.checkpoint import CheckpointError, require_own_folder

    output = pathlib.Path(recipe.output)
    require_writable("output", output)
    require_writable("log_dir" if recipe.log_dir else "output", recipe.log_folder)
    require_writable("output", output / "model")
    require_writable("checkpoint_dir", recipe.checkpoint_folder)
    try:
        require_own_folder(output / "model")
    except CheckpointError as error:
        raise ConfigError(f"`output`: {error}") from None
    if recipe.model.get("lora") is not None:
        _require_adapter_folder(output / "adapter")
    if recipe.data_dir is not None and not os.path.isdir(recipe.data_dir):
        raise ConfigError(f"`data_dir` must name a folder; there is none at {shown(recipe.data_dir)}")


def _require_adapter_folder(folder: pathlib.Path) -> None:
    from highnoon.models.adapters import is_adapter_folder

    if folder.exists() and not is_adapter_folder(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"`output`: {folder} exists and is no adapter; give another output or remove it")
