"""Options with hyphens and with underscores are one: `--batch_size` and `--batch-size`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from highnoon.cli.parser import inner_verbs
from highnoon.files.nearest_name import nearest_name


def spelled_options(words: Sequence[str], parser: argparse.ArgumentParser) -> list[str]:
    """Returns the words of a verb with options spelled as its parser does, hyphens and underscores alike.

    What follows `--` is the command of another program.

    Args:
        words: Of a command line, after the verb.
        parser: That of the verb.
    """
    known = {option for one in _parsers(words, parser) for a in one._actions for option in a.option_strings}
    spelled = {_underscored(option): option for option in sorted(known)}
    found: list[str] = []
    for index, word in enumerate(words):
        if word == "--":
            return [*found, *words[index:]]
        option, equals, value = word.partition("=")
        if option.startswith("--") and option not in known and _underscored(option) in spelled:
            word = f"{spelled[_underscored(option)]}{equals}{value}"
        found.append(word)
    return found


def misspelled_option(words: Sequence[str], parser: argparse.ArgumentParser) -> tuple[str, str] | None:
    """Returns the first option that no parser of the words has and the nearest that one has, or None.

    It is looked for before the words are parsed: a parser reports the required argument that is missing
    because its option is misspelled, and not the option.

    Args:
        words: Of a command line, after the verb.
        parser: That of the verb.
    """
    known = {option for one in _parsers(words, parser) for a in one._actions for option in a.option_strings}
    if any(action.nargs == argparse.REMAINDER for action in parser._actions):
        return None  # the words may be the command of another program
    for word in words:
        if word == "--":
            return None
        option = word.partition("=")[0]
        if option.startswith("--") and option not in known and (near := nearest_name(option, known)):
            return option, near
    return None


def _parsers(words: Sequence[str], parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """The parser of a verb, and that of the verb inside it which the words name."""
    inner = inner_verbs(parser)
    return [parser, *(inner[word] for word in words if word in inner)]


def _underscored(option: str) -> str:
    return option[:2] + option[2:].replace("-", "_")
