"""The options of verbs that use a trained model; an option that is not given keeps the default of the API."""

from __future__ import annotations

import argparse
import pathlib
import sys
from typing import Any

from highnoon.config import require_path
from highnoon.files.print_text import print_text

SAMPLING = ("max_length", "temperature", "top_k", "top_p", "repetition_penalty", "seed")


def add_model_option(parser: argparse.ArgumentParser) -> None:
    """Adds the model's folder, as the first word or as `--model`, and `--adapter`."""
    parser.add_argument(
        "model",
        nargs="?",
        action=Once,
        default=argparse.SUPPRESS,
        metavar="MODEL",
        help="a run, its checkpoints or best, final, latest, interrupted in it (my-run/best), a saved model, "
        "or a folder of Hugging Face",
    )
    parser.add_argument("--model", action=Once, metavar="DIR", help="MODEL as an option")
    parser.add_argument(
        "--adapter",
        metavar="DIR",
        help="LoRA factors to load onto MODEL: a run of --lora, its adapter/, or a folder of PEFT",
    )


class Once(argparse.Action):
    """Stores the value of an argument that is the first word or an option, and not both."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        given = getattr(namespace, self.dest, None)
        if given is not None:
            raise argparse.ArgumentError(None, f"the {self.dest} is given twice: {given} and {values}")
        setattr(namespace, self.dest, values)


def require_given(arguments: argparse.Namespace, *names: str) -> None:
    """Checks that arguments were given that are a word or an option.

    Raises:
        ArgumentError: one is missing.
    """
    missing = [name.upper() for name in names if getattr(arguments, name) is None]
    if missing:
        raise argparse.ArgumentError(None, f"the following arguments are required: {', '.join(missing)}")


def open_model(path: str, adapter: str | None = None) -> Any:
    """Loads the language model that --model means; where that is a part of a run, says which on stderr.

    Raises:
        ValueError: the model is of another kind, whose attribute `not_a_language_model` says what to use.
    """
    import highnoon as hn

    found = hn.models.find_model(path)
    if found != pathlib.Path(path):
        print_text(f"model: {found}", file=sys.stderr)
    model = hn.load_model(found)
    if remedy := getattr(model, "not_a_language_model", None):
        raise ValueError(f"{found} is no language model: {remedy}")
    if adapter is not None:
        from highnoon.models.adapters import load_adapter

        load_adapter(model, pathlib.Path(require_path("--adapter", adapter)))
    return model


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
