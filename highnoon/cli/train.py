"""Trains a language model: on your files in one stage, or through the stages of a recipe.

  highnoon train --data my_texts/ --preset highnoon-tiny --epochs 3
  highnoon train recipe.yaml model.dropout=0.1 training.learning_rate=3e-4
  highnoon train recipe.yaml --resume
  highnoon train my-run steps=10 output=trial
  highnoon train --from my-llama --data chats.jsonl --lora 8 --output tuned

RECIPE is a YAML file, or the folder of an earlier run, which has the recipe that it ran. KEY=VALUE sets any
key of it; a dotted key such as `model.dropout` or `stages.0.steps` sets a value inside. Ctrl-C saves the
run; `--resume` continues it at the very same step. Under `highnoon launch`, or with several GPUs, all devices
train together.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from highnoon.cli.data_dir_option import add_data_dir_option
from highnoon.cli.data_options import DATA_OPTIONS, add_data_options, data_words, dataset_entries
from highnoon.cli.fine_tune_options import (
    add_fine_tune_options,
    default_epochs,
    describe_fine_tuning,
    fine_tune_keys,
)
from highnoon.cli.model_line import model_line
from highnoon.cli.process.quiet_start import load_tensorflow
from highnoon.cli.recipe_words import dotted_words
from highnoon.config import PRESETS, ConfigError, require_path
from highnoon.files.expand_home import expand_home
from highnoon.files.nearest_name import nearest_name
from highnoon.training.recipes.check_recipe import check_recipe
from highnoon.training.recipes.complete_recipe import complete_recipe
from highnoon.training.recipes.overrides import parse_overrides
from highnoon.training.recipes.recipe import Recipe
from highnoon.training.recipes.recipe_sections import SECTIONS, section_keys

if TYPE_CHECKING:
    from highnoon.training import Trainer

SUMMARY = "train a model on your own text"
TAKES_FIELDS = True
_OPTIONS = (
    "preset",
    "output",
    "data_dir",
    "restore_best",
    "extend",
    "allow_plan_change",
    "allow_oversize",
)
"""Options that are keys of a recipe."""
RECIPE_SUFFIXES = (".yaml", ".yml", ".json")
_MOST_NAMED = 3


# Long, since it is a list: one statement an option, in the order of the help.
def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = "highnoon train [RECIPE] [KEY=VALUE ...] [options]"
    parser.set_defaults(overrides=[])
    parser.add_argument(
        "--config",
        metavar="RECIPE",
        help="the recipe; may also be the first word, without an option",
    )
    parser.add_argument("--preset", metavar="NAME", help=f"model to start from: {', '.join(PRESETS)}")
    add_data_options(
        parser,
        "files, folders, globs or dataset names for a run of one stage, in place of a recipe's stages",
    )
    add_data_dir_option(parser)
    parser.add_argument(
        "--balance",
        type=_balance,
        metavar="equal|T",
        help="weights of domains: all equal, or smoothed by a temperature of at least 1",
    )
    add_fine_tune_options(parser)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=int, metavar="N", help="epochs over --data")
    length.add_argument("--steps", type=int, metavar="N", help="optimizer steps over --data")
    parser.add_argument("--output", metavar="DIR", help="folder for model/, checkpoints/ and logs/")
    parser.add_argument(
        "--resume",
        nargs="?",
        const=True,
        metavar="CHECKPOINT",
        help="resume from a checkpoint, or from the highest step in the output folder, if any",
    )
    parser.add_argument("--extend", action="store_true", help="allow a resumed run to be longer than it was")
    parser.add_argument(
        "--allow-plan-change", action="store_true", help="allow a resumed run to differ in any way"
    )
    parser.add_argument(
        "--restore-best",
        action="store_true",
        help="end with the weights of the lowest held-out loss, not of the last step",
    )
    parser.add_argument("--dry-run", action="store_true", help="check memory, data and plan, and exit")
    parser.add_argument(
        "--allow-oversize",
        action="store_true",
        help="start even if the run exceeds the memory of this machine",
    )
    keys = ", ".join(field.name for field in dataclasses.fields(Recipe))
    parser.add_argument_group("keys of a recipe", f"KEY=VALUE, of: {keys}")
    for section in SECTIONS:
        parser.add_argument_group(
            f"{section} fields",
            f"{section}.FIELD=VALUE, of: {', '.join(sorted(section_keys(section)))}",
        )


def run(arguments: argparse.Namespace) -> None:
    recipe = read_recipe(arguments)
    recipe, trainer = made_trainer(recipe, arguments.config, chooses_length=arguments.data is not None)
    if not train_recipe(recipe, trainer, arguments):
        return
    if trainer.replicas.is_chief:
        _print_held_out(trainer)
        words = None if arguments.data is None else data_words(arguments)
        print_next_commands(
            pathlib.Path(recipe.output),
            words,
            base=recipe.model_source if _trains_factors(trainer) else None,
            chats=getattr(trainer.tokenizer, "chat_template", None) is not None,
        )


def made_trainer(
    recipe: Recipe, source: str | None = None, *, chooses_length: bool
) -> tuple[Recipe, Trainer]:
    """Returns a recipe with all that it leaves open, and its trainer.

    Args:
        recipe: The run.
        source: The file that it is from, for errors; None for none.
        chooses_length: Whether the length of rows may follow from the data.

    Raises:
        ConfigError: something that the run would refuse.
    """
    try:
        recipe.config()
        load_tensorflow()
        check_recipe(recipe)
        recipe = complete_recipe(recipe, chooses_length=chooses_length)
        stages = check_recipe(recipe)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}" if source else str(error)) from None
    from highnoon.training.recipes.make_trainer import make_trainer

    return recipe, make_trainer(recipe, stages)


def train_recipe(recipe: Recipe, trainer: Trainer, arguments: argparse.Namespace) -> bool:
    """Says what is trained, and trains; returns False after a dry run.

    Args:
        recipe: The run.
        trainer: Its trainer.
        arguments: Of the command line: `from_model` and `dry_run` are read.

    Raises:
        ConfigError: as `run_recipe`.
    """
    from highnoon.training.recipes.run_recipe import preflight_recipe, run_recipe

    if recipe.verbose and trainer.replicas.is_chief:
        print(model_line(trainer, recipe.preset))
    if arguments.from_model is not None:
        line = describe_fine_tuning(trainer, recipe)
        if recipe.verbose and trainer.replicas.is_chief:
            print(line)
    if arguments.dry_run:
        preflight_recipe(recipe, trainer)
        return False
    try:
        run_recipe(recipe, trainer)
    except KeyboardInterrupt as stop:
        # Without the continuation for Python.
        saved = str(stop).partition("; continue with train(")[0] or "stopped without saving"
        raise KeyboardInterrupt(f"{saved}; to continue: the same command with --resume") from None
    return True


def read_recipe(arguments: argparse.Namespace) -> Recipe:
    """Returns the run that the file and the options describe together; options win.

    Raises:
        ConfigError: no data, data twice, or a key that does not exist.
    """
    overrides = _overrides(arguments)
    if arguments.config is None:
        recipe = Recipe().with_overrides(overrides)
    else:
        _require_recipe(arguments.config)
        recipe = Recipe.load(require_path("--config", arguments.config), overrides)
    if arguments.data is not None and recipe.stages:
        raise ConfigError("--data is for a run of one stage, and the recipe has stages; give one of them")
    if arguments.data is None and not recipe.stages and not recipe.has_task_mix:
        raise ConfigError(
            f"no data to train on: give --data PATH, a file or a folder of text{_data_here()}, or a recipe "
            "with `stages`; `highnoon demo` needs no data"
        )
    if arguments.data is not None:
        length = {"epochs": arguments.epochs or default_epochs(arguments), "steps": arguments.steps}
        datasets = dataset_entries(arguments, in_model_template=arguments.from_model is not None)
        stage = {"name": "train", "datasets": datasets, "balance": arguments.balance, **length}
        recipe = recipe.with_overrides({"stages": [stage]})
    else:
        _refuse_options_of_data(arguments)
    if recipe.resume_from is None:
        for name in ("extend", "allow_plan_change"):
            if getattr(recipe, name):
                raise ConfigError(f"--{name.replace('_', '-')} is for a resumed run; give --resume with it")
    return recipe


def _require_recipe(path: str) -> None:
    """Refuses what is data, or not there, where a recipe should be.

    Raises:
        ConfigError: there is nothing at the path, or a file that is no recipe by its name.
    """
    file = expand_home(require_path("--config", path))
    if not file.exists():
        near = nearest_name(file.name, [entry.name for entry in _entries(file.parent)])
        hint = "" if near is None else f"did you mean `{file.with_name(near)}`? "
        raise ConfigError(f"there is no recipe or run at {path}; {hint}data is given as --data PATH")
    if file.is_file() and file.suffix.lower() not in RECIPE_SUFFIXES:
        raise ConfigError(
            f"{path} is no recipe, which ends in {', '.join(RECIPE_SUFFIXES)}; to train on it, give "
            f"--data {path}"
        )


def _data_here() -> str:
    """Names up to three files of the current folder that could be trained on."""
    from highnoon.data.formats.by_name import DATA_SUFFIXES

    files = [entry.name for entry in _entries(pathlib.Path()) if entry.suffix.lower() in DATA_SUFFIXES]
    return f" (here are {', '.join(files[:_MOST_NAMED])})" if files else ""


def _entries(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _overrides(arguments: argparse.Namespace) -> dict[str, Any]:
    """The keys of a recipe that options and `key=value` words set.

    Raises:
        ConfigError: a key that is given twice, or a word that is no `key=value`.
    """
    given = {
        key: value
        for key in _OPTIONS
        if (value := getattr(arguments, key)) is not None and value is not False
    }
    if arguments.resume is not None:
        given["resume_from"] = arguments.resume
    for key, value in parse_overrides([*arguments.overrides, *dotted_words(arguments.leftover)]).items():
        if key in given:
            raise ConfigError(f"`{key}` is given twice; give it once")
        given[key] = value
    return {**fine_tune_keys(arguments, given), **given}


def _refuse_options_of_data(arguments: argparse.Namespace) -> None:
    options = ("epochs", "steps", "balance", *DATA_OPTIONS)
    values = {name: getattr(arguments, name) for name in options}
    given = [
        f"--{name.replace('_', '-')}"
        for name, value in values.items()
        if value is not None and value is not False
    ]
    if given:
        name = given[0].removeprefix("--")
        instead = f": give {name}={values[name]} to change it" if name in ("epochs", "steps") else ""
        raise ConfigError(f"{given[0]} belongs to --data; the stages of a recipe say their own{instead}")


def _balance(value: str) -> str | float:
    return value if value == "equal" else float(value)


def _print_held_out(trainer: Trainer) -> None:
    """Compares the trained model with gzip on the documents that the run held out."""
    from highnoon.cli.evaluate import print_figures
    from highnoon.evaluation import held_out_figures

    figures = held_out_figures(trainer)
    if figures is not None:
        print("\nOn held-out text, with the weights that were saved:")
        print_figures(figures)


def _trains_factors(trainer: Trainer) -> bool:
    return getattr(getattr(trainer.model, "backbone", None), "lora", None) is not None


def print_next_commands(
    output: pathlib.Path, data: Sequence[str] | None = None, *, base: str | None = None, chats: bool = False
) -> None:
    """Prints what to do with a trained model.

    Args:
        output: The run's folder.
        data: What it was trained on, as the words after `--data` on the command line.
        base: The model whose LoRA factors the run trained; None for a run that trained the weights.
        chats: Whether the model was trained on conversations.
    """
    held_out = "PATH" if data is None else f"{shlex.join(data)} --held-out"
    folder, logs = shlex.quote(str(output)), shlex.quote(str(output / "logs"))
    lines = [] if chats else [f'highnoon generate --model {folder} --prompt "Once"']
    lines += [
        f"highnoon chat --model {folder}",
        f"highnoon evaluate --model {folder} --data {held_out}",
        f"tensorboard --logdir {logs}",
    ]
    if base is not None:
        adapter, merged = shlex.quote(str(output / "adapter")), shlex.quote(f"{output}-hf")
        lines += [
            f"highnoon chat --model {shlex.quote(base)} --adapter {adapter}   # the factors, on their base",
            f"highnoon export --model {folder} --output {merged}   # the factors merged into the weights",
        ]
    print("\n  ".join(["\nNext:", *lines]))
