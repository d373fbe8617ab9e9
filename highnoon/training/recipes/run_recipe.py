"""Runs a recipe: trains, saves the recipe with the run, and saves the model."""

from __future__ import annotations

import contextlib
import functools
import inspect
import pathlib
import warnings
from collections.abc import Sequence
from typing import Any

from highnoon.callbacks import RunText, SampleText
from highnoon.config import ConfigError
from highnoon.files.folder_lock import folder_lock
from highnoon.files.markdown import markdown_code
from highnoon.files.print_text import print_text
from highnoon.models import LanguageModel
from highnoon.models.adapters import base_of, save_adapter
from highnoon.models.lora_factors import layers_with_factors
from highnoon.training.recipes.check_recipe import recipe_callbacks
from highnoon.training.recipes.make_trainer import given_arguments
from highnoon.training.recipes.recipe import Recipe
from highnoon.training.recipes.recipe_file import RECIPE_FILE, recipe_text
from highnoon.training.trainer import Trainer


def run_recipe(recipe: Recipe, trainer: Trainer, callbacks: Sequence[Any] = ()) -> dict[str, Any]:
    """Trains, then saves the model into `output/model`; the resolved recipe is in `output/recipe.yaml`.

    Args:
        recipe: The run.
        trainer: Made by `make_trainer` from the recipe.
        callbacks: More callbacks.

    Returns:
        The summary of `Trainer.train`.

    Raises:
        ConfigError: as `Trainer.train`, whose other errors it raises too.
    """
    output = pathlib.Path(recipe.output)
    is_chief = trainer.replicas.is_chief
    # From the first step until the model is saved, one run alone writes its folder.
    lock = folder_lock(output, "wait until it ends, or give another --output")
    with lock if is_chief else contextlib.nullcontext():
        # A function hears events and has no state in a checkpoint.
        save = [functools.partial(_save_at_begin, recipe)] if is_chief else []
        shown = [RunText("recipe", _as_markdown(recipe))] if is_chief else []
        arguments = {
            **arguments_of_train(recipe),
            "checkpoint_dir": recipe.checkpoint_folder,
            "log_dir": recipe.log_folder,
            "callbacks": [*recipe_callbacks(recipe, is_chief), *callbacks, *shown, *save],
        }
        is_new = recipe.resume_from is None
        if recipe.verbose and is_chief and is_new and (output / "model").exists():
            print_text(
                f"note: {output / 'model'} is of an earlier run; this run replaces it when it ends. Give "
                "--resume to continue that run, or another --output to keep it"
            )
        summary = trainer.train(**arguments)
        if is_chief:
            trainer.save(output / "model")
            _save_adapter(recipe, trainer)
            if recipe.verbose:
                print_text(f"the model is saved in {output / 'model'}")
    return summary


def _save_adapter(recipe: Recipe, trainer: Trainer) -> None:
    """Saves the LoRA factors alone, where the run trained any."""
    model = getattr(trainer, "model", None)
    if not isinstance(model, LanguageModel) or not layers_with_factors(model.backbone):
        return
    base = None if recipe.model_source is None else base_of(recipe.model_source)
    save_adapter(model, pathlib.Path(recipe.output) / "adapter", base_path=base)


def arguments_of_train(recipe: Recipe) -> dict[str, Any]:
    """Returns the keys of a recipe that are arguments of `Trainer.train` and not of the constructor."""
    of_trainer = inspect.signature(Trainer.__init__).parameters
    given = given_arguments(recipe, Trainer.train)
    return {name: value for name, value in given.items() if name not in of_trainer}


def preflight_recipe(recipe: Recipe, trainer: Trainer) -> None:
    """Prints what a run would do, after every check that it would make.

    Raises:
        ConfigError: the run could not do what it is meant to.
        CheckpointError: it could not be resumed.
    """
    arguments = given_arguments(recipe, Trainer.preflight)
    report = trainer.preflight(**{**arguments, "checkpoint_dir": recipe.checkpoint_folder})
    print(trainer.plan(), report, sep="\n\n")
    if recipe.sample_prompts:
        SampleText(recipe.sample_prompts).require_model(trainer.model)
    if report.problems:
        raise ConfigError("; ".join(report.problems))


def _as_markdown(recipe: Recipe) -> str:
    try:
        text = recipe_text(recipe.to_dict())
    except ConfigError as error:
        text = f"the recipe cannot be written as YAML: {error}"
    return markdown_code(text)


def _save_at_begin(recipe: Recipe, event: dict[str, Any]) -> None:
    """Saves the recipe once the run has begun, so that a run that is refused writes nothing."""
    if event["event"] != "train_begin":
        return
    folders = [pathlib.Path(recipe.output)]
    if recipe.checkpoint_dir is not None and recipe.save_checkpoints:
        folders.append(recipe.checkpoint_folder)
    for folder in folders:
        try:
            recipe.save(folder / RECIPE_FILE)
        except ConfigError as error:
            warnings.warn(f"{RECIPE_FILE} is not saved: {error}", stacklevel=2)
            return
