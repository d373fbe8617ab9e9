"""The options of verbs that use a trained model; what is left out keeps the API's default."""

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
    add("--temperature", type=float, metavar="T", help="0 takes the likeliest token, 1 samples as learnt")
    add("--top-k", type=int, metavar="K", help="sample among the K likeliest tokens")
    add("--top-p", type=float, metavar="P", help="sample among the likeliest tokens that hold P together")
    add("--repetition-penalty", type=float, metavar="R", help="above 1 avoids tokens already seen")
    add("--seed", type=int, metavar="N", help="the same seed gives the same text")


def sampling_arguments(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the options that were given, as keywords of `model.generate`."""
    return {name: getattr(arguments, name) for name in SAMPLING if getattr(arguments, name) is not None}
