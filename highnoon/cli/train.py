"""Trains a language model: on your files in one stage, or through the stages of a recipe.

  highnoon train --data my_texts/ --preset highnoon-tiny --epochs 3
  highnoon train recipe.yaml model.dropout=0.1 training.learning_rate=3e-4
  highnoon train recipe.yaml --resume
  highnoon train my-run steps=10 output=trial

RECIPE is a YAML file, or the folder of an earlier run, which has the recipe that it ran. KEY=VALUE sets any
key of it; a dotted key such as `model.dropout` or `stages.0.steps` sets a value inside. Ctrl-C saves the
run; `--resume` continues it at the very same step. Under `highnoon launch`, or with several GPUs, all devices
train together.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
from typing import Any

from highnoon.cli.data_actions.reading_options import listed
from highnoon.cli.process.quiet_start import load_tensorflow
from highnoon.cli.recipe_words import dotted_words
from highnoon.config import PRESETS, ConfigError, require_path
from highnoon.training.recipes.check_recipe import check_recipe
from highnoon.training.recipes.overrides import parse_overrides
from highnoon.training.recipes.recipe import Recipe
from highnoon.training.recipes.recipe_sections import SECTIONS, section_keys

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
    parser.add_argument(
        "--data",
        nargs="+",
        metavar="PATH",
        help="files, folders, globs or dataset names for a run of one stage, in place of a recipe's stages",
    )
    parser.add_argument(
        "--data_dir", "--data-dir", metavar="DIR", help="folder of local copies of named datasets"
    )
    parser.add_argument(
        "--domains",
        nargs="+",
        metavar="NAME",
        help="sub-folders of --data to read, separated by spaces or commas",
    )
    parser.add_argument(
        "--balance",
        type=_balance,
        metavar="equal|T",
        help="weights of domains: all equal, or smoothed by a temperature of at least 1",
    )
    parser.add_argument(
        "--skip-bad", action="store_true", help="skip records of --data that cannot be read, and count them"
    )
    parser.add_argument(
        "--documents",
        type=int,
        metavar="N",
        help="read the first N documents of --data, a prepared folder; an unfinished one has N ready",
    )
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
    source = arguments.config
    try:
        recipe.config()
        load_tensorflow()
        stages = check_recipe(recipe)
    except ValueError as error:
        raise ConfigError(f"{source}: {error}" if source else str(error)) from None
    from highnoon.training.recipes.make_trainer import make_trainer
    from highnoon.training.recipes.run_recipe import preflight_recipe, run_recipe

    trainer = make_trainer(recipe, stages)
    if arguments.dry_run:
        preflight_recipe(recipe, trainer)
        return
    try:
        run_recipe(recipe, trainer)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(f"{stop}, or the same command with --resume") from None
    if trainer.replicas.is_chief:
        print_next_commands(pathlib.Path(recipe.output))


def read_recipe(arguments: argparse.Namespace) -> Recipe:
    """Returns the run that the file and the options describe together; options win.

    Raises:
        ConfigError: no data, data twice, or a key that does not exist.
    """
    overrides = _overrides(arguments)
    if arguments.config is None:
        recipe = Recipe().with_overrides(overrides)
    else:
        recipe = Recipe.load(require_path("--config", arguments.config), overrides)
    if arguments.data is not None and recipe.stages:
        raise ConfigError("--data is for a run of one stage, and the recipe has stages; give one of them")
    if arguments.data is None and not recipe.stages and not recipe.has_task_mix:
        raise ConfigError("no data to train on: give --data PATH, or a recipe with `stages`")
    if arguments.data is not None:
        length = {"epochs": arguments.epochs, "steps": arguments.steps}
        stage = {"name": "train", "datasets": _datasets(arguments), "balance": arguments.balance, **length}
        recipe = recipe.with_overrides({"stages": [stage]})
    else:
        _refuse_options_of_data(arguments)
    if recipe.resume_from is None:
        for name in ("extend", "allow_plan_change"):
            if getattr(recipe, name):
                raise ConfigError(f"--{name.replace('_', '-')} is for a resumed run; give --resume with it")
    return recipe


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
    return given


def _refuse_options_of_data(arguments: argparse.Namespace) -> None:
    options = ("epochs", "steps", "domains", "balance", "skip_bad", "documents")
    values = {name: getattr(arguments, name) for name in options}
    given = [
        f"--{name.replace('_', '-')}"
        for name, value in values.items()
        if value is not None and value is not False
    ]
    if given:
        raise ConfigError(f"{given[0]} belongs to --data; the stages of a recipe say their own")


def _datasets(arguments: argparse.Namespace) -> list[Any]:
    """The names of --data, with the given options of reading."""
    options: dict[str, Any] = {}
    if arguments.domains is not None:
        options["domains"] = listed(",".join(arguments.domains))
    if arguments.skip_bad:
        options["skip_bad"] = True
    if arguments.documents is not None:
        options["documents"] = arguments.documents
    return [{"name": name, **options} if options else name for name in arguments.data]


def _balance(value: str) -> str | float:
    return value if value == "equal" else float(value)


def print_next_commands(output: pathlib.Path) -> None:
    print(
        f"\nNext:\n"
        f'  highnoon generate --model {output / "model"} --prompt "Once"\n'
        f"  highnoon chat --model {output / 'model'}\n"
        f"  highnoon evaluate --model {output / 'model'} --data PATH\n"
        f"  tensorboard --logdir {output / 'logs'}"
    )
