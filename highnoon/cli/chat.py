"""Talks with a trained model, line by line; Ctrl-D ends, an empty line is skipped.

  highnoon chat --model highnoon-demo/model --temperature 0.7

The conversation is written in the chat template that the model was trained with, which its tokenizer carries.
A model that was never trained on conversations has none and continues lines of `User:` and `Assistant:`. The
format is printed first. When a conversation exceeds what the model reads, its oldest lines are dropped.
"""

from __future__ import annotations

import argparse
import sys

from highnoon.cli.model_options import add_model_option, add_sampling_options, sampling_arguments
from highnoon.cli.process.quiet_start import load_tensorflow
from highnoon.files.print_text import print_generated
from highnoon.files.printable import printable

SUMMARY = "talk with a trained model"
DEFAULT_ANSWER_TOKENS = 128


def configure(parser: argparse.ArgumentParser) -> None:
    add_model_option(parser)
    parser.add_argument(
        "--system-prompt", metavar="TEXT", help="system message at the start of the conversation"
    )
    add_sampling_options(parser)


def run(arguments: argparse.Namespace) -> None:
    load_tensorflow()
    import highnoon as hn
    from highnoon.inference import StatefulWrapper

    conversation = StatefulWrapper(hn.load_model(arguments.model), system_prompt=arguments.system_prompt)
    sampling = {"max_length": DEFAULT_ANSWER_TOKENS, **sampling_arguments(arguments)}
    conversation.require_options(**sampling)
    print(printable(f"Conversation format: {conversation.chat_format}."), file=sys.stderr)
    print("Type a line and press Enter; Ctrl-D ends.", file=sys.stderr)
    while (line := read_line()) is not None:
        if line.strip():
            conversation.add_user_message(line.strip())
            print_generated(conversation.generate(**sampling))


def read_line() -> str | None:
    """Returns a line of standard input, or None at its end."""
    try:
        return input("> " if sys.stdin.isatty() else "")
    except EOFError:
        return None
