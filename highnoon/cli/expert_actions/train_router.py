"""Trains the router over trained experts, which do not change.

  highnoon experts train-router --data_dir my_texts

Its best checkpoint is CHECKPOINT_DIR/nanothink_mla; next: highnoon experts assemble.
"""

from __future__ import annotations

import argparse

from highnoon.cli.expert_actions.run_options import (
    add_run_options,
    configs_of,
    resuming_of,
    train_or_say_how_to_resume,
)
from highnoon.cli.process.quiet_start import load_tensorflow
from highnoon.compat.expert_configs import SECTIONS_OF
from highnoon.compat.expert_training import train_configured_router

SUMMARY = "train the router over trained experts"
FUSIONS = ("distributions", "hidden")
_SECTIONS = SECTIONS_OF["router"]


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--experts",
        nargs="+",
        metavar="EXPERT",
        help="names of trained experts, or paths of models (default: transformer state_space diffusion)",
    )
    parser.add_argument(
        "--fusion",
        choices=FUSIONS,
        default="distributions",
        help="mix what the experts predict, or fuse their hidden states (default: distributions)",
    )
    parser.add_argument(
        "--use_vector_store",
        action="store_true",
        help="also build a memory of the training text for the transformer, and measure it",
    )
    # The tokenizer is that of the experts, in the folder of the runs.
    add_run_options(parser, _SECTIONS, ("tokenizer",))


def run(arguments: argparse.Namespace) -> None:
    if arguments.experts is not None and arguments.n_experts is None and len(arguments.experts) > 1:
        arguments.n_experts = len(arguments.experts)
    configs = configs_of(arguments, _SECTIONS, _SECTIONS)
    load_tensorflow()
    from highnoon.training.distributed import use_device

    use_device(arguments.device)
    resuming = resuming_of(arguments)
    train_or_say_how_to_resume(
        lambda: train_configured_router(
            configs,
            experts=arguments.experts,
            fusion=arguments.fusion,
            use_vector_store=arguments.use_vector_store,
            resuming=resuming,
        )
    )
