"""Talks with a trained model, line by line; /help lists the commands, Ctrl-D ends.

  highnoon chat highnoon-demo --temperature 0.7
  highnoon chat my-run/best --system-prompt "Answer in one sentence."

The conversation is written in the chat template that the model was trained with, which its tokenizer carries.
A model that was never trained on conversations has none and continues lines of `User:` and `Assistant:`. The
format is printed first. When a conversation exceeds what the model reads, its oldest lines are dropped.

Lines that begin with a slash are commands, such as /reset, /retry and /temperature 0.5. Ctrl-C stops an
answer and keeps the conversation; twice at the prompt it ends.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import TYPE_CHECKING, Any

from highnoon.cli.model_options import (
    add_model_option,
    add_sampling_options,
    open_model,
    require_given,
    sampling_arguments,
)
from highnoon.cli.process.quiet_start import load_tensorflow
from highnoon.cli.process.stop_requests import StopRequests
from highnoon.files.print_text import print_generated, print_text
from highnoon.training.runs.signal_watch import SignalWatch

if TYPE_CHECKING:
    from highnoon.inference import StatefulWrapper

SUMMARY = "talk with a trained model"
ANSWERS_SIGNALS = True
DEFAULT_ANSWER_TOKENS = 128
_QUOTES = '"""'


def configure(parser: argparse.ArgumentParser) -> None:
    add_model_option(parser)
    parser.add_argument(
        "--system-prompt", metavar="TEXT", help="system message at the start of the conversation"
    )
    add_sampling_options(parser)


def run(arguments: argparse.Namespace) -> None:
    require_given(arguments, "model")
    # Until the conversation begins, Ctrl-C ends the command as it does elsewhere.
    with StopRequests(ends_process=False):
        load_tensorflow()
        from highnoon.inference import StatefulWrapper

        conversation = StatefulWrapper(
            open_model(arguments.model, arguments.adapter), system_prompt=arguments.system_prompt
        )
        sampling = {"max_length": DEFAULT_ANSWER_TOKENS, **sampling_arguments(arguments)}
        conversation.require_options(**sampling)
    if sys.stdin.isatty():
        with contextlib.suppress(ImportError):  # Windows has none
            import readline  # noqa: F401  # `input` then edits a line and recalls earlier ones
    say(f"Conversation format: {conversation.chat_format}.")
    say("Type a line and press Enter; /help lists the commands, Ctrl-D ends.")
    converse(conversation, sampling)


def converse(conversation: StatefulWrapper, sampling: dict[str, Any]) -> None:
    """Reads messages and commands until one of them, or the end of the input, ends the conversation."""
    from highnoon.cli.chat_commands import ChatCommands

    def answer(message: str) -> None:
        answer_message(conversation, message, sampling)

    commands = ChatCommands(conversation, sampling, answer, say)
    has_interrupted = False
    while not commands.is_over:
        try:
            message = read_message()
        except KeyboardInterrupt:
            if has_interrupted:
                return
            has_interrupted = True
            say("\nCtrl-C again, Ctrl-D or /exit ends")
            continue
        has_interrupted = False
        if message is None:
            return
        if message and not commands.take(message):
            answer(message.removeprefix("/"))


def answer_message(conversation: StatefulWrapper, message: str, sampling: dict[str, Any]) -> None:
    """Prints the answer to a message; Ctrl-C stops it and takes the message back."""
    conversation.add_user_message(message)
    try:
        with SignalWatch(lambda number: "stopping the answer"):
            text = conversation.generate(**sampling)
    except KeyboardInterrupt:
        conversation.take_back()
        say("the answer is stopped, and its message is taken back")
        return
    except ValueError:
        # A message that is too long, say: the conversation before it stays as it was.
        conversation.take_back()
        if not sys.stdin.isatty():
            raise
        say(f"error: {sys.exc_info()[1]}")
        return
    print_generated(text)


def read_message() -> str | None:
    """Returns a message of standard input without blanks around it, or None at the end of the input.

    A line that ends in a backslash continues in the next; three quotes begin and end a message of lines.
    """
    line = read_line("> ")
    if line is None:
        return None
    lines: list[str] = []
    if line.strip().startswith(_QUOTES):
        line = line.strip().removeprefix(_QUOTES)
        while line is not None and not line.rstrip().endswith(_QUOTES):
            lines.append(line)
            line = read_line("... ")
        lines.append("" if line is None else line.rstrip().removesuffix(_QUOTES))
        return "\n".join(lines).strip()
    while line is not None and line.endswith("\\"):
        lines.append(line.removesuffix("\\"))
        line = read_line("... ")
    return "\n".join([*lines, line or ""]).strip()


def read_line(prompt: str) -> str | None:
    """Returns a line of standard input, or None at its end."""
    try:
        return input(prompt if sys.stdin.isatty() else "")
    except EOFError:
        return None


def say(line: str) -> None:
    """Prints what is not the model's, on standard error."""
    for part in line.split("\n"):
        print_text(part, file=sys.stderr)
