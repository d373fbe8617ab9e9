"""Trains experts and router, makes the mixture and evaluates it, from one file.

  highnoon experts run recipes/experts.yaml

A step whose result is whole and whose inputs are as before is skipped. Ctrl-C saves the step that runs; the
same command continues it.
"""

from __future__ import annotations

import argparse

from highnoon.cli.process.quiet_start import load_tensorflow
from highnoon.compat.expert_recipe import ExpertRecipe
from highnoon.config import ConfigError

SUMMARY = "do all steps of a recipe of experts"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", metavar="RECIPE", help="YAML file of experts, router and data")
    parser.add_argument(
        "--checkpoint_dir", metavar="DIR", help="folder of the runs, in place of the recipe's"
    )
    parser.add_argument(
        "--device", default="auto", metavar="NAME", help="auto, cpu, cuda or cuda:0 (default: auto)"
    )


def run(arguments: argparse.Namespace) -> None:
    folder = arguments.checkpoint_dir
    changes = {} if folder is None else {"checkpoint_dir": folder}
    try:
        recipe = ExpertRecipe.from_yaml(arguments.recipe, changes)
    except ConfigError as error:
        raise ConfigError(f"{error}; see recipes/experts.yaml and highnoon experts run --help") from None
    load_tensorflow()
    from highnoon.training.distributed import use_device

    use_device(arguments.device)
    from highnoon.compat.expert_steps import format_figures, run_expert_recipe

    try:
        figures = run_expert_recipe(recipe)
    except KeyboardInterrupt as stop:
        saved = str(stop).partition("; continue with train(")[0] or "stopped"
        raise KeyboardInterrupt(f"{saved}; to continue: the same command") from None
    print(f"\n{format_figures(figures)}\nthe mixture is in {recipe.checkpoint_dir}/nanothink")
