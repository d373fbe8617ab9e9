"""Aligns a language model with preferences, or trains a reward model on them.

  highnoon align --objective dpo --model my-run --data preferences.jsonl
  highnoon align --objective reward_model --model my-run --data preferences.jsonl --output reward

Records of preferences have `prompt`, `chosen` and `rejected`; those of kto have `prompt`, `completion` and
`label`. The model is also the reference of dpo and kto. KEY=VALUE sets any key of the recipe that the run
becomes, such as training.learning_rate=1e-6; objective.KEY=VALUE, such as objective.beta=0.2, sets an
argument of the objective.
"""

from __future__ import annotations

import argparse
import pathlib
import shlex
from typing import Any

from highnoon.cli.data_dir_option import add_data_dir_option
from highnoon.cli.data_options import add_data_options, dataset_entries
from highnoon.cli.fine_tune_options import add_lora_options, fine_tune_keys, has_factors
from highnoon.cli.recipe_words import dotted_words
from highnoon.cli.train import made_trainer, train_recipe
from highnoon.config import ConfigError
from highnoon.files.expand_home import expand_home
from highnoon.training.recipes.overrides import parse_overrides
from highnoon.training.recipes.recipe import Recipe

SUMMARY = "align a model with preferences, or train a reward model"
TAKES_FIELDS = True
OBJECTIVES = ("dpo", "kto", "orpo", "simpo", "reward_model")
WITH_REFERENCE = ("dpo", "kto")
POLICY_LEARNING_RATE, REWARD_LEARNING_RATE, LORA_LEARNING_RATE = 1e-6, 1e-5, 1e-5
"""As of published recipes for models of a billion weights and more; small models take larger ones."""
_OF_OBJECTIVE = "objective."


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = "highnoon align --objective NAME --model MODEL --data PATH [KEY=VALUE ...] [options]"
    parser.set_defaults(overrides=[], preset=None, config=None)
    parser.add_argument(
        "--objective", required=True, choices=OBJECTIVES, help="what is minimized; see the guide on alignment"
    )
    parser.add_argument(
        "--model",
        dest="from_model",
        required=True,
        metavar="MODEL",
        help="the model to align: a run, its checkpoints, a saved model, or a folder of Hugging Face",
    )
    add_data_options(parser, "files, folders, globs or dataset names with the records")
    add_data_dir_option(parser)
    add_lora_options(parser.add_argument_group("fine-tuning"))
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=int, metavar="N", help="epochs over --data; default: 1")
    length.add_argument("--steps", type=int, metavar="N", help="optimizer steps over --data")
    parser.add_argument("--output", metavar="DIR", help="folder for model/, checkpoints/ and logs/")
    parser.add_argument(
        "--resume",
        nargs="?",
        const=True,
        metavar="CHECKPOINT",
        help="resume from a checkpoint, or from the highest step in the output folder, if any",
    )
    parser.add_argument("--dry-run", action="store_true", help="check memory, data and plan, and exit")


def run(arguments: argparse.Namespace) -> None:
    recipe = read_recipe(arguments)
    recipe, trainer = made_trainer(recipe, chooses_length=True)
    if train_recipe(recipe, trainer, arguments) and trainer.replicas.is_chief:
        if any(data.validation_rows is not None for data in trainer.stage_data()):
            print("\nOn held-out pairs, with the weights that were saved:")
            for name, value in trainer.evaluate().items():
                print(f"{name:24s}{value:.4f}")
        _print_next(pathlib.Path(recipe.output), arguments.objective)


def read_recipe(arguments: argparse.Namespace) -> Recipe:
    """Returns the run that the options describe: one stage with the objective.

    Raises:
        ConfigError: no data, or a key that does not exist or is given twice.
        ModelFolderError: there is no model at `--model`.
    """
    if arguments.data is None:
        raise ConfigError("no records to learn from: give --data PATH, a file of preferences")
    words = parse_overrides([*arguments.overrides, *dotted_words(arguments.leftover)])
    own = {
        key.removeprefix(_OF_OBJECTIVE): words.pop(key)
        for key in list(words)
        if key.startswith(_OF_OBJECTIVE)
    }
    given: dict[str, Any] = {
        key: getattr(arguments, key) for key in ("output", "data_dir") if getattr(arguments, key) is not None
    }
    if arguments.resume is not None:
        given["resume_from"] = arguments.resume
    keys = fine_tune_keys(arguments, words)
    keys["training.learning_rate"] = _learning_rate(arguments, keys["model.path"])
    objective: dict[str, Any] = {"name": arguments.objective}
    if arguments.objective in WITH_REFERENCE:
        objective["reference"] = keys["model.path"]
    recipe = Recipe().with_overrides({**keys, **given, **words})
    if arguments.objective == "reward_model":
        source = _reward_model(keys["model.path"], pathlib.Path(recipe.output))
        recipe = recipe.with_overrides({"model.path": source})
    stage = {
        "name": "align",
        "datasets": dataset_entries(arguments, in_model_template=True),
        "objective": {**objective, **own},
        "steps": arguments.steps,
        "epochs": 1 if arguments.epochs is None and arguments.steps is None else arguments.epochs,
    }
    return recipe.with_overrides({"stages": [stage]})


def _learning_rate(arguments: argparse.Namespace, path: str) -> float:
    if arguments.lora is not None or has_factors(path):
        return LORA_LEARNING_RATE
    return REWARD_LEARNING_RATE if arguments.objective == "reward_model" else POLICY_LEARNING_RATE


def _reward_model(path: str, output: pathlib.Path) -> str:
    """Returns the folder of a reward model: that at the path, or one made of the language model there.

    It is made once, so that a resumed run starts from the same head.
    """
    import keras

    from highnoon.alignment import RewardModel
    from highnoon.models import load_model, save_model
    from highnoon.models.saving import is_model_folder

    folder = expand_home(output) / "initial_reward_model"
    if is_model_folder(folder):
        return str(folder)
    model = load_model(path)
    if isinstance(model, RewardModel):
        return path
    keras.utils.set_random_seed(42)
    return str(save_model(RewardModel.from_language_model(model), folder))


def _print_next(output: pathlib.Path, objective: str) -> None:
    folder, logs = shlex.quote(str(output)), shlex.quote(str(output / "logs"))
    lines = [] if objective == "reward_model" else [f"highnoon chat --model {folder}"]
    print("\n  ".join(["\nNext:", *lines, f"tensorboard --logdir {logs}"]))
