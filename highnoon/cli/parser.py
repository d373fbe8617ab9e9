"""The parser of the command line: a misspelled verb or option is answered with the nearest one."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from highnoon.cli.process.next_command import examples
from highnoon.files.nearest_name import nearest_name
from highnoon.files.printable import printable

OTHER_WORDS = {
    "fit": "train",
    "finetune": "train",
    "fine-tune": "train",
    "pretrain": "train",
    "resume": "train",
    "dpo": "align",
    "predict": "generate",
    "infer": "generate",
    "complete": "generate",
    "sample": "generate",
    "test": "evaluate",
    "score": "evaluate",
    "convert": "export",
    "presets": "models",
    "list": "models",
    "dashboard": "monitor",
    "watch": "monitor",
    "show": "inspect",
    "diff": "inspect",
    "torchrun": "launch",
    "distributed": "launch",
    "check": "doctor",
    "info": "doctor",
    "tokenize": "data prepare",
}
"""Verbs of other tools, and the verb of this one that does the same."""


class Parser(argparse.ArgumentParser):
    """A parser without abbreviations, whose errors name the nearest verb or choice."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs, allow_abbrev=False)

    def _print_message(self, message: str, file: Any = None) -> None:
        # A usage error quotes what was typed.
        super()._print_message(printable(message) if message else message, file)

    def error(self, message: str) -> NoReturn:
        found = examples(self.description)
        if "are required" in message and found:
            message += f"; for example: {found[0]}"
        super().error(message)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if not isinstance(action, argparse._SubParsersAction) or value in action.choices:
            super()._check_value(action, value)
            return
        self._refuse_verb(action, value)

    def _refuse_verb(self, action: Any, value: str) -> NoReturn:
        """Ends with one line: usage would hide it."""
        is_option = f"--{value}" in self._option_string_actions
        near = f"{self.prog} --{value}" if is_option else nearest_verb(self, action, value)
        hint = f"did you mean `{near}`?" if near else f"there are: {', '.join(action.choices)}"
        self.exit(2, f"{self.prog}: error: there is no {action.metavar.lower()} `{value}`; {hint}\n")


def nearest_verb(parser: argparse.ArgumentParser, action: Any, value: str) -> str | None:
    """Returns the command that a misspelled word means, or None.

    The word may be a verb of another tool, or a verb inside a verb, such as `prepare` for `data prepare`.

    Args:
        parser: The parser that met the word.
        action: Its action with the sub-parsers.
        value: The word.
    """
    nested = {
        inner: f"{name} {inner}"
        for name, verb_parser in action.choices.items()
        for inner in inner_verbs(verb_parser)
    }
    others = {word: verb for word, verb in OTHER_WORDS.items() if verb.split()[0] in action.choices}
    known = {**others, **nested, **{name: name for name in action.choices}}
    near = nearest_name(value, action.choices) or nearest_name(value, known)
    # An exact match is better than a similar verb.
    return f"{parser.prog} {known[value if value in known else near]}" if near is not None else None


def inner_verbs(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Returns the parsers of the verbs inside a parser, by name; none where it has none."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}
