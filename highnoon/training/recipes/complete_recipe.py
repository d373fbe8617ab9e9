"""Completes a recipe: the model and the length that it leaves open."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from highnoon.config import ConfigError, is_given
from highnoon.files.print_text import print_text
from highnoon.training.recipes.choose_preset import choose_length, choose_preset, choose_vocabulary
from highnoon.training.recipes.machine import Machine
from highnoon.training.recipes.preset_choice import describe_length
from highnoon.training.recipes.recipe_stages import as_fields, stage_arguments, task_mix_arguments
from highnoon.training.recipes.saved_recipe import saved_recipe
from highnoon.training.recipes.text_size import ENDLESS, TextSize, measure_stage

if TYPE_CHECKING:
    from highnoon.training.recipes.recipe import Recipe

LENGTHS = ("epochs", "steps", "tokens")
SIZES = ("embedding_dim", "num_reasoning_blocks")
"""Fields of a model that say how large it is; with one of them the shape is the user's."""
PATIENCE = 3
"""Epochs without improvement that end a run of several epochs whose length was chosen."""
_CHOSEN_OF_TRAINING = ("early_stopping_patience", "learning_rate", "validation_split", "warmup_steps")


def complete_recipe(recipe: Recipe, *, chooses_length: bool = False) -> Recipe:
    """Returns a recipe with a model and a length, chosen where none is given; see `Recipe.completed`.

    Args:
        recipe: The recipe.
        chooses_length: Whether stages without a length get one even if the model is given; otherwise they
            have `epochs_per_stage`.
    """
    needs_preset, needs_vocabulary = _lacks_preset(recipe), _lacks_vocabulary(recipe)
    needs_length = (chooses_length or needs_preset) and _lacks_length(recipe)
    if (
        not recipe.stages
        and not recipe.has_task_mix
        or not (needs_preset or needs_vocabulary or needs_length)
    ):
        return recipe
    if recipe.resume_from not in (None, False):
        saved = saved_recipe(recipe)
        if saved is not None:
            return _as_saved(recipe, saved, takes_model=needs_preset or needs_vocabulary)
        if _has_checkpoint(recipe):
            if needs_preset or needs_vocabulary:
                raise ConfigError(
                    "the run that is resumed has no recipe.yaml, which would say its model; give the model "
                    "that it began with, as --preset NAME or model.vocab_size=N and so on"
                )
            return recipe  # the trainer takes the epochs of the saved run
    return _choose(recipe, needs_preset, needs_vocabulary, needs_length)


def _choose(recipe: Recipe, needs_preset: bool, needs_vocabulary: bool, needs_length: bool) -> Recipe:
    if needs_preset:
        _require_one_host()
    machine, sizes, text = Machine.this(), *_measure_stages(recipe)
    if recipe.tokenizer is not None:
        from highnoon.tokenization import load_tokenizer

        text = dataclasses.replace(text, tokenizer_size=load_tokenizer(recipe.tokenizer).vocab_size)
    lines = []
    if needs_preset:
        choice = choose_preset(text, machine)
        model = {"vocab_size": choice.vocab_size, **recipe.model}
        if model["vocab_size"] != choice.vocab_size:
            choice = dataclasses.replace(choice, vocab_size=model["vocab_size"])
        recipe = dataclasses.replace(
            recipe, preset=choice.preset, model=model, auto_batch=recipe.auto_batch or machine.num_gpus > 0
        )
        lines.append(choice.model_line)
    elif needs_vocabulary:
        vocab_size = choose_vocabulary(recipe.config().model, text)
        recipe = dataclasses.replace(recipe, model={**recipe.model, "vocab_size": vocab_size})
        lines.append(f"model: a vocabulary of {vocab_size:,}: {text}; choose another with model.vocab_size=N")
    if text.is_exact and text.num_documents and "validation_split" not in recipe.training:
        recipe, line = _with_documents_to_train_on(recipe, text)
        lines += line
    if needs_length:
        recipe, line = _with_length(recipe, sizes, machine)
        lines += line
    if recipe.verbose and _is_chief():
        print_text("\n".join(lines))
    return recipe


def _with_documents_to_train_on(recipe: Recipe, text: TextSize) -> tuple[Recipe, list[str]]:
    """Holds nothing out of a text whose only documents would all be held out."""
    if text.num_held_out < text.num_documents:
        return recipe, []
    line = (
        "held out: nothing, since the text is too short; add text, or more files of it, to measure the model"
    )
    return dataclasses.replace(recipe, training={**recipe.training, "validation_split": 0.0}), [line]


def _with_length(recipe: Recipe, sizes: dict[str, TextSize], machine: Machine) -> tuple[Recipe, list[str]]:
    """Gives stages without a length one, and a run of several epochs an end by its held-out loss."""
    config, text = recipe.config(), sum(sizes.values(), TextSize(0, 0))
    is_known = recipe.model_source is None and "family" not in recipe.model
    if text.is_stream:  # a stream ends after steps alone
        text = dataclasses.replace(text, num_bytes=ENDLESS)
    epochs, steps, fraction, seconds = choose_length(
        config.model if is_known else None, config.training, text, machine
    )
    open_stages = [stage["name"] for stage in recipe.stages if not any(stage.get(key) for key in LENGTHS)]
    total = sum(sizes[name].num_bytes for name in open_stages)
    stages = []
    for stage in recipe.stages:
        if stage["name"] in open_stages:
            part = sizes[stage["name"]].num_bytes / max(total, 1)
            length = {"epochs": epochs} if steps is None else {"steps": max(1, round(steps * part))}
            stage = {**stage, **length}
        stages.append(stage)
    recipe = dataclasses.replace(recipe, stages=stages)
    is_held_out = config.training.validation_split > 0 and text.holds_out
    if epochs is not None and epochs > 1 and is_held_out:
        training = {"early_stopping_patience": PATIENCE, **recipe.training}
        restore_best = True if recipe.restore_best is None else recipe.restore_best
        recipe = dataclasses.replace(recipe, training=training, restore_best=restore_best)
    return recipe, [describe_length(epochs, steps, fraction, seconds, is_held_out=is_held_out)]


def _lacks_preset(recipe: Recipe) -> bool:
    return (
        recipe.preset is None
        and recipe.model_source is None
        and "family" not in recipe.model
        and not any(name in recipe.model for name in SIZES)
    )


def _lacks_vocabulary(recipe: Recipe) -> bool:
    """Whether the model is the user's but for its vocabulary, which would have the default of 60,000."""
    is_new = recipe.preset is None and recipe.model_source is None and "family" not in recipe.model
    return is_new and "vocab_size" not in recipe.model


def _lacks_length(recipe: Recipe) -> bool:
    if is_given(recipe.epochs_per_stage) or recipe.steps is not None:
        return False
    if "epochs" in recipe.training:
        return False
    return any(not any(stage.get(key) for key in LENGTHS) for stage in recipe.stages)


def _measure_stages(recipe: Recipe) -> tuple[dict[str, TextSize], TextSize]:
    """Returns the size of the text of each stage, and that of all their different text."""
    from highnoon.training.curricula.task_mix import task_mix_stages
    from highnoon.training.plans.stages import CurriculumStage

    stages = [CurriculumStage(**as_fields(stage_arguments(stage))) for stage in recipe.stages]
    if recipe.has_task_mix:
        stages += task_mix_stages(**task_mix_arguments(recipe))
    split = recipe.config().training.validation_split
    sizes: dict[str, TextSize] = {}
    measured: dict[tuple[Any, ...], TextSize] = {}
    for stage in stages:
        # Stages of a task mix read the same text. A list of texts is the same only if it is the same object.
        datasets = stage.dataset_names_and_weights()[0]
        key = tuple(_identity(entry) for entry in datasets)
        if key not in measured:
            measured[key] = measure_stage(stage, recipe.data_dir, split)
        sizes[stage.name] = measured[key]
    return sizes, sum(measured.values(), TextSize(0, 0))


def _identity(dataset: Any) -> Any:
    is_named = isinstance(dataset, Mapping) and isinstance(dataset.get("name"), str)
    return repr(dataset) if isinstance(dataset, str) or is_named else id(dataset)


def _as_saved(recipe: Recipe, saved: Recipe, *, takes_model: bool) -> Recipe:
    """Returns the recipe with what is open as in the run that it resumes."""
    changes: dict[str, Any] = {}
    if takes_model:
        changes["model"] = {**saved.model, **recipe.model}
        changes["preset"] = saved.preset
        changes["auto_batch"] = recipe.auto_batch or saved.auto_batch
    lengths = {
        stage["name"]: {key: stage[key] for key in LENGTHS if stage.get(key)} for stage in saved.stages
    }
    changes["stages"] = [
        stage if any(stage.get(key) for key in LENGTHS) else {**stage, **lengths.get(stage["name"], {})}
        for stage in recipe.stages
    ]
    kept = {name: saved.training[name] for name in _CHOSEN_OF_TRAINING if name in saved.training}
    changes["training"] = {**kept, **recipe.training}
    if recipe.restore_best is None:
        changes["restore_best"] = saved.restore_best
    return dataclasses.replace(recipe, **changes)


def _has_checkpoint(recipe: Recipe) -> bool:
    from highnoon.training.checkpoints import checkpoint

    return recipe.resume_from is not True or bool(checkpoint.step_folders(recipe.checkpoint_folder))


def _require_one_host() -> None:
    """Refuses to choose a model on several machines, which may choose different ones.

    Raises:
        ConfigError: this process belongs to a cluster of several hosts.
    """
    from highnoon.training.distributed.cluster_config import ClusterConfig

    cluster = ClusterConfig.from_environment()
    if cluster is not None and len({address.rpartition(":")[0] for address in cluster.addresses}) > 1:
        raise ConfigError(
            "a run on several machines must name its model, the same on all: give --preset NAME"
        )


def _is_chief() -> bool:
    from highnoon.training.distributed.cluster_config import ClusterConfig

    cluster = ClusterConfig.from_environment()
    return cluster is None or cluster.is_chief
