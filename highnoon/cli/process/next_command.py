"""The command to try next, for the errors that a newcomer meets first."""

from __future__ import annotations

import argparse
import re

_EXAMPLE = re.compile(r"^  ((?:.*\| )?highnoon .+)$", re.MULTILINE)

_KINDS = {"DataError", "ModelFolderError"}


def examples(text: str | None) -> list[str]:
    """Returns the examples in the help of a verb: its lines that are indented by two and are commands."""
    return _EXAMPLE.findall(text or "")


def next_command(error: BaseException, line: str, parser: argparse.ArgumentParser) -> str:
    """Returns the end of an error's line: an example of the verb, or nothing where the line has a command.

    Args:
        error: Only what is about a path that holds something else, or nothing, has a next command.
        line: The error as it is printed.
        parser: That of the verb.
    """
    # By name: their packages load Keras, which a verb that only reads files must not.
    is_about_content = bool(_KINDS & {kind.__name__ for kind in type(error).__mro__})
    is_path = isinstance(error, FileNotFoundError) and error.filename is not None
    found = examples(parser.description)
    if not (is_path or is_about_content) or "highnoon " in line or not found:
        return ""
    return f"; for example: {found[0]}"
