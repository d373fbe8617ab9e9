"""Expands `~` in the paths of a command line; a shell does not where `~` follows a `=`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from highnoon.cli.parser import inner_verbs
from highnoon.files.expand_home import expand_home

PATH_METAVARS = frozenset(
    "CHECKPOINT DATA DIR DIR|SOURCE FILE FOLDER MODEL OTHER PATH RECIPE RUN SOURCE".split()
)
"""What an argument that is a path is called in the help of its verb."""


def expand_paths(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Replaces a leading `~` in the value of every argument that is a path.

    An argument is a path if its metavar is one of `PATH_METAVARS`, so that a new option needs nothing else.

    Args:
        arguments: What the parser returned; changed in place.
        parser: That of the verb.
    """
    for action in path_actions(parser):
        if hasattr(arguments, action.dest):
            setattr(arguments, action.dest, _expanded(getattr(arguments, action.dest)))


def path_actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yields the arguments of a verb, and of the verbs inside it, that are paths."""
    yield from (action for action in parser._actions if action.metavar in PATH_METAVARS)
    for inner in inner_verbs(parser).values():
        yield from path_actions(inner)


def _expanded(value: Any) -> Any:
    if isinstance(value, str):
        return str(expand_home(value)) if value.startswith("~") else value
    if isinstance(value, list):
        return [_expanded(item) for item in value]
    return value
