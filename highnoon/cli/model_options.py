"""The options of verbs that use a trained model; an option that is not given keeps the default of the API."""

from __future__ import annotations

import argparse
from typing import Any

SAMPLING = ("max_length", "temperature", "top_k", "top_p", "repetition_penalty", "seed")


def add_model_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", required=True, metavar="DIR", help="folder of a saved model, or a checkpoint"
    )


def add_sampling_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--max-length", type=int, metavar="N", help="most tokens to generate")
    add(
        "--temperature",
        type=float,
        metavar="T",
        help="0 takes the most likely token, 1 samples from the model's distribution",
    )
    add("--top-k", type=int, metavar="K", help="sample from the K most likely tokens")
    add(
        "--top-p", type=float, metavar="P", help="sample from the most likely tokens with total probability P"
    )
    add("--repetition-penalty", type=float, metavar="R", help="above 1 makes repeated tokens less likely")
    add("--seed", type=int, metavar="N", help="the same seed gives the same text")


def sampling_arguments(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the options that were given, as keywords of `model.generate`."""
    return {name: getattr(arguments, name) for name in SAMPLING if getattr(arguments, name) is not None}
