"""Talks with a trained model, line by line; Ctrl-D ends, an empty line is passed over.

  highnoon chat --model highnoon-demo/model

The model continues a transcript of both sides, cut at its start to what the model can see. A model that was
not trained on conversations continues it like any other text.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from highnoon.cli.model_options import add_model_option, add_sampling_options, sampling_arguments

if TYPE_CHECKING:
    from highnoon.models import LanguageModel

SUMMARY = "talk with a trained model"
USER, MODEL = "User: ", "Assistant:"
DEFAULT_REPLY_TOKENS = 128


def configure(parser: argparse.ArgumentParser) -> None:
    add_model_option(parser)
    add_sampling_options(parser)


def run(arguments: argparse.Namespace) -> None:
    import highnoon as hn
    from highnoon.inference import StreamingGenerator

    model = hn.load_model(arguments.model)
    generator = StreamingGenerator(model)
    sampling = {"max_length": DEFAULT_REPLY_TOKENS, **sampling_arguments(arguments)}
    turns: list[str] = []
    print("Type a line and press Enter; Ctrl-D ends.", file=sys.stderr)
    while (line := _read_line()) is not None:
        if not line.strip():
            continue
        turns.append(f"{USER}{line.strip()}\n{MODEL}")
        prompt = fitting_transcript(model, turns, reply_tokens=sampling["max_length"])
        reply = ""
        for piece in generator.generate_stream(prompt, stop_sequences=[f"\n{USER.strip()}"], **sampling):
            print(piece, end="", flush=True)
            reply += piece
        print()
        turns[-1] += f"{reply.rstrip()}\n"


def fitting_transcript(model: LanguageModel, turns: list[str], reply_tokens: int) -> str:
    """Returns the last turns that leave room for the reply within the model's longest sequence."""
    room = model.config.max_seq_length - reply_tokens
    kept: list[str] = []
    for turn in reversed(turns):
        if kept and len(model.tokenizer.encode("".join([turn, *kept]))) > room:
            break
        kept.insert(0, turn)
    return "".join(kept)


def _read_line() -> str | None:
    """Returns a line, or None at the end of the input."""
    try:
        return input("> " if sys.stdin.isatty() else "")
    except EOFError:
        return None
