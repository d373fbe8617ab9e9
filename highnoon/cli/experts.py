"""Trains experts of several kinds, a router over them, and makes one model of all.

  highnoon experts pretrain --expert transformer --data_dir my_texts --tokenizer byte
  highnoon experts train-router --data_dir my_texts
  highnoon experts assemble --checkpoint_dir checkpoints
  highnoon experts run recipes/experts.yaml

`run` does all of it from one file, and continues where it was stopped when it is run again.
"""

from __future__ import annotations

import argparse
from typing import Any

from highnoon.cli.expert_actions import assemble, pretrain, run_recipe, train_router

SUMMARY = "train experts under one router"

ACTIONS: dict[str, Any] = {
    "pretrain": pretrain,
    "train-router": train_router,
    "assemble": assemble,
    "run": run_recipe,
}


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, action in ACTIONS.items():
        action_parser = actions.add_parser(
            name,
            help=action.SUMMARY,
            description=action.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        action.configure(action_parser)


def run(arguments: argparse.Namespace) -> int | None:
    code: int | None = ACTIONS[arguments.action].run(arguments)
    return code
