"""Saves trained experts and their router as one model.

  highnoon experts assemble --checkpoint_dir checkpoints

The model is for every verb: highnoon generate --model checkpoints/nanothink --prompt "Once".
"""

from __future__ import annotations

import argparse
import shlex

from highnoon.cli.process.quiet_start import load_tensorflow

SUMMARY = "save experts and router as one model"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--checkpoint_dir",
        default="checkpoints",
        metavar="DIR",
        help="folder of the runs of experts and router (default: checkpoints)",
    )
    parser.add_argument(
        "--output", metavar="DIR", help="where to save it (default: nanothink in that folder)"
    )
    parser.add_argument("--router", metavar="PATH", help="the router (default: that of the folder)")
    parser.add_argument(
        "--experts", nargs="+", metavar="PATH", help="the experts (default: those of the router's training)"
    )
    parser.add_argument(
        "--by-hash",
        action="store_true",
        help="name the experts by path and hash of their weights, in place of containing them",
    )


def run(arguments: argparse.Namespace) -> None:
    load_tensorflow()
    from highnoon.experts.runs import assemble_mixture

    folder = assemble_mixture(
        arguments.checkpoint_dir,
        arguments.output,
        experts=arguments.experts,
        router=arguments.router,
        contains_experts=not arguments.by_hash,
    )
    path = shlex.quote(str(folder))
    print(f'the mixture is saved in {folder}\n\nNext:\n  highnoon generate --model {path} --prompt "Once"')
