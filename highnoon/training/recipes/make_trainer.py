"""Makes the model and the trainer of a recipe."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from highnoon.config import ConfigError, is_given
from highnoon.models import create_model, load_model
from highnoon.tokenization import load_tokenizer
from highnoon.training.distributed import resolve_strategy
from highnoon.training.recipes.check_recipe import check_recipe
from highnoon.training.recipes.recipe import Recipe
from highnoon.training.recipes.recipe_sections import MODEL_KEYS
from highnoon.training.recipes.recipe_stages import make_objective, task_mix_arguments
from highnoon.training.trainer import Trainer


def make_trainer(recipe: Recipe, stages: Sequence[Mapping[str, Any]] | None = None) -> Trainer:
    """Makes the model and the trainer with all stages.

    Args:
        recipe: The run.
        stages: Arguments of `add_curriculum_stage` that `check_recipe` returned; None checks the recipe.

    Raises:
        ConfigError: something that the run would refuse.
    """
    if stages is None:
        stages = check_recipe(recipe)
    # Before anything else of TensorFlow: the workers of a cluster can be joined only then.
    strategy = _strategy(recipe.strategy)
    given = given_arguments(recipe, Trainer.__init__)
    if recipe.tokenizer is not None:
        given["tokenizer"] = load_tokenizer(recipe.tokenizer)
    if recipe.objective is not None:
        given["objective"] = make_objective(recipe.objective, "`objective`")
    given["config"] = recipe.config().training
    with strategy.scope():
        model = make_model(recipe)
    trainer = Trainer(**{**given, "model": model, "strategy": strategy})
    default = {} if recipe.validation_data is None else {"validation_data": recipe.validation_data}
    for stage in stages:
        trainer.add_curriculum_stage(**{**default, **stage})
    if recipe.has_task_mix:
        trainer.add_task_mix(**task_mix_arguments(recipe))
    return trainer


def make_model(recipe: Recipe) -> Any:
    """Returns the model of a recipe: new, or loaded from the folder that `model.path` names.

    Raises:
        ConfigError: the model cannot be made, has no layer for LoRA, or does not recompute blocks.
    """
    config, dtype = recipe.config(), recipe.model.get("dtype", "auto")
    # New weights, factors of LoRA and dropout then follow from the recipe, so that a run can be repeated.
    keras.utils.set_random_seed(config.training.seed % 2**32)
    if "family" in recipe.model:
        fields = {name: value for name, value in recipe.model.items() if name not in MODEL_KEYS}
        model = create_model(recipe.model["family"], recipe.allow_oversize, dtype, **fields)
    elif recipe.model_source is None:
        task = recipe.model.get("task", "generation")
        model = create_model(config, recipe.allow_oversize, dtype, task)
    else:
        model = load_model(recipe.model_source, dtype=dtype, allow_oversize=recipe.allow_oversize)
        model.training_config = config.training
    if recipe.model.get("lora") is not None:
        try:
            model.backbone.enable_lora(**recipe.model["lora"])
        except ValueError as error:
            raise ConfigError(f"`model.lora`: {error}") from None
    if recipe.model.get("gradient_checkpointing"):
        _recompute_blocks(model)
    return model


def _recompute_blocks(model: Any) -> None:
    """Makes training store the input of each block alone."""
    if not hasattr(model, "gradient_checkpointing_enable"):
        raise ConfigError(
            "`model.gradient_checkpointing` is for models with `gradient_checkpointing_enable`; received "
            f"{type(model).__name__}, which has none; leave it out"
        )
    model.gradient_checkpointing_enable()


def given_arguments(recipe: Recipe, function: Callable[..., Any]) -> dict[str, Any]:
    """Returns the keys of a recipe that are arguments of a function and differ from their default.

    An argument that a later version adds reaches the function as soon as the recipe has its key.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(recipe)}
    return {
        name: getattr(recipe, name)
        for name in inspect.signature(function).parameters
        if name in defaults
        and getattr(recipe, name) is not None
        and is_given(getattr(recipe, name))
        and getattr(recipe, name) != defaults[name]
    }


def _strategy(name: str) -> tf.distribute.Strategy:
    if name == "mirrored":
        return resolve_strategy(tf.distribute.MirroredStrategy())
    return resolve_strategy("auto" if name == "auto" else None)
