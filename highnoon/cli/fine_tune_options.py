"""The options of `highnoon train` that fine-tune a model: words for keys of a recipe."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from highnoon.cli.process.quiet_start import load_tensorflow
from highnoon.config import ConfigError, require_count, require_path
from highnoon.training.recipes.recipe_sections import MODEL_SETTINGS

if TYPE_CHECKING:
    from highnoon.training import Trainer
    from highnoon.training.recipes.recipe import Recipe

FULL_LEARNING_RATE, LORA_LEARNING_RATE = 2e-5, 2e-4
EPOCHS = 3


def add_fine_tune_options(parser: argparse.ArgumentParser) -> None:
    """Adds `--from` and `--lora`."""
    group = parser.add_argument_group("fine-tuning")
    group.add_argument(
        "--from",
        dest="from_model",
        metavar="MODEL",
        help="fine-tune this model: a run, its checkpoints or a role in it (my-run/best), a saved model, a "
        "folder of Hugging Face, or an adapter; its tokenizer and chat template are used",
    )
    add_lora_options(group)


def add_lora_options(group: argparse._ArgumentGroup) -> None:
    """Adds `--lora` and its options."""
    group.add_argument(
        "--lora",
        type=int,
        metavar="RANK",
        help="train low-rank factors of this rank instead of all weights, and save them in adapter/ too",
    )
    group.add_argument(
        "--lora-targets",
        nargs="+",
        metavar="LAYER",
        help="layers with factors, such as query value down; default: the input projections of the mixers",
    )
    group.add_argument("--lora-alpha", type=float, metavar="A", help="the factors are scaled by A / RANK")


def fine_tune_keys(arguments: argparse.Namespace, given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the keys of a recipe that `--from` and `--lora` mean, without those that are given.

    Args:
        arguments: Of the command line.
        given: Keys that other options and `key=value` words set.

    Raises:
        ConfigError: options that need or exclude each other.
        ModelFolderError: there is no model at `--from`.
    """
    if arguments.from_model is None:
        for name in ("lora_targets", "lora_alpha"):
            if getattr(arguments, name) is not None and arguments.lora is None:
                raise ConfigError(f"--{name.replace('_', '-')} is for --lora RANK; give it too")
        if arguments.lora is not None and arguments.config is None:
            raise ConfigError("--lora adapts a trained model; give it as --from MODEL")
        return _lora_keys(arguments)
    others = tuple(f"model.{name}" for name in ("lora", *MODEL_SETTINGS))
    shape = [key for key in given if key.startswith("model.") and not key.startswith(others)]
    if arguments.preset is not None or "preset" in given or shape:
        other = "--preset" if arguments.preset is not None else f"`{(shape or ['preset'])[0]}`"
        raise ConfigError(f"--from names a trained model, which has its own shape; leave {other} out")
    keys = {"model.path": _found(arguments.from_model), **_lora_keys(arguments)}
    if arguments.lora is not None and has_factors(keys["model.path"]):
        raise ConfigError(
            f"--from {arguments.from_model} has LoRA factors already; leave --lora out to train them "
            "further, or give the base that it was trained on as --from to train new ones"
        )
    if arguments.config is None and "training.learning_rate" not in given:
        trains_factors = arguments.lora is not None or has_factors(keys["model.path"])
        keys["training.learning_rate"] = LORA_LEARNING_RATE if trains_factors else FULL_LEARNING_RATE
    return keys


def default_epochs(arguments: argparse.Namespace) -> int | None:
    """Returns the epochs of fine-tuning where neither epochs nor steps are given."""
    is_open = arguments.epochs is None and arguments.steps is None
    return EPOCHS if arguments.from_model is not None and is_open else None


def describe_fine_tuning(trainer: Trainer, recipe: Recipe) -> str:
    """Returns a line that says what of the model is trained, and how.

    Raises:
        ConfigError: the model has no tokenizer.
    """
    model: Any = trainer.model
    if getattr(model, "tokenizer", None) is None and recipe.tokenizer is None:
        raise ConfigError(
            f"{recipe.model_source} has no tokenizer that can be read; give the one that the model was "
            "trained with as tokenizer=PATH"
        )
    total, trained = _count(model.weights), _count(model.trainable_weights)
    what = f"all {total:,} weights" if total == trained else f"{trained:,} of {total:,} weights"
    ranks = sorted(
        {
            (layer.name, layer.lora_rank)
            for layer in model._flatten_layers()
            if getattr(layer, "lora_enabled", False)
        }
    )
    if ranks:
        what += f", the factors of LoRA on {', '.join(f'{name} (rank {rank})' for name, rank in ranks)}"
    stage = recipe.stages[0]
    length = f"{stage['epochs']} epochs" if stage.get("epochs") else f"{stage.get('steps')} steps"
    return (
        f"fine-tuning {recipe.model_source}: {what}, at a learning rate of {trainer.config.learning_rate:g}, "
        f"for {length}; change them by training.learning_rate=X and --epochs N"
    )


def _lora_keys(arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.lora is None:
        if arguments.lora_targets is not None or arguments.lora_alpha is not None:
            raise ConfigError("--lora-targets and --lora-alpha are for --lora RANK; give it too")
        return {}
    keys: dict[str, Any] = {"model.lora.rank": require_count("--lora", arguments.lora)}
    if arguments.lora_targets is not None:
        words = [word for given in arguments.lora_targets for word in given.split(",") if word]
        keys["model.lora.target_layer_names"] = words
    if arguments.lora_alpha is not None:
        keys["model.lora.alpha"] = arguments.lora_alpha
    return keys


def _found(path: str) -> str:
    require_path("--from", path)
    load_tensorflow()
    from highnoon.models import find_model

    return str(find_model(path))


def has_factors(path: str) -> bool:
    """Whether a model folder holds factors of LoRA, which are all that further training changes."""
    from highnoon.models.adapters import is_adapter_folder
    from highnoon.models.saving import is_model_folder, read_description

    if is_adapter_folder(path):
        return True
    return is_model_folder(path) and "lora" in read_description(path)


def _count(weights: Any) -> int:
    return sum(math.prod(weight.shape) for weight in weights)
