"""An option of the command line for every field of the expert mixture's configuration."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from highnoon.compat.expert_configs import section_classes

_ARGUMENT = re.compile(r"^ {8}(\w+): (.*(?:\n {12}.*)*)", re.MULTILINE)


def add_config_options(
    parser: argparse.ArgumentParser, sections: Sequence[str], skipped: Sequence[str] = ()
) -> None:
    """Adds `--FIELD VALUE` for each field of some sections; no option has a default of its own.

    Args:
        parser: Of the verb.
        sections: Names of sections, see `highnoon.compat.expert_configs.SECTIONS_OF`.
        skipped: Fields for which the verb has an option of its own.
    """
    added = set(skipped)
    for section in sections:
        kind = section_classes()[section]
        # A class describes the fields in which it differs from the one that it extends.
        documented = "".join(base.__doc__ or "" for base in reversed(kind.__mro__))
        texts = {name: " ".join(text.split()) for name, text in _ARGUMENT.findall(documented)}
        group = parser.add_argument_group(f"{section} ({kind.__name__})")
        for field in dataclasses.fields(kind):
            if field.name not in added:
                text = f"{texts.get(field.name, '')} (default: {field.default})".strip()
                group.add_argument(f"--{field.name}", **_reading(field), help=text.replace("%", "%%"))
                added.add(field.name)


def given_fields(arguments: argparse.Namespace, sections: Sequence[str]) -> dict[str, Any]:
    """Returns the fields of some sections that were given on the command line.

    Args:
        arguments: What the parser read.
        sections: Names of sections.
    """
    names = {field.name for section in sections for field in dataclasses.fields(section_classes()[section])}
    values = {name: getattr(arguments, name, None) for name in sorted(names)}
    return {name: value for name, value in values.items() if value is not None}


def _reading(field: dataclasses.Field[Any]) -> Mapping[str, Any]:
    """Returns how an option is read, by the type of its field."""
    kind = str(field.type)
    if kind == "bool":
        return {"action": argparse.BooleanOptionalAction, "default": None}
    if field.name == "balance":
        return {"type": _number_or_word, "metavar": "equal|size|T"}
    if field.name == "domains" or kind.startswith("tuple[int"):
        return {"nargs": "+", "type": int if kind.startswith("tuple[int") else str, "metavar": "VALUE"}
    types = {"int": int, "float": float}
    return {"type": types.get(kind.split(" ")[0], str), "metavar": kind.split(" ")[0].upper()}


def _number_or_word(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text
