"""The grammar of a block pattern, as text alone: the names in it, and their options."""

from __future__ import annotations

import ast
import re
from typing import Any, NamedTuple

from highnoon.config import ConfigError
from highnoon.files.shown import shown

MAX_LAYERS = 4096
"""Most residual pairs of a stack; each costs time and memory to build, however narrow it is."""

NAMED_PATTERNS = {
    "transformer": "attention+mlp",
    "moe_only": "attention+moe",
    "mamba_only": "mamba2",
    "mamba_timecrystal_wlam_moe_hybrid": "mamba2+moe, gated_delta_rule+moe, sliding_attention+moe",
}
"""The documented names; docs/guides/models.md describes each."""

_OPTIONS = re.compile(r"([^()]*)\(([^()]*)\)\s*")
_WORDS = {"true": True, "false": False, "none": None, "null": None}


class PartText(NamedTuple):
    """One name of a pattern, with its options.

    Args:
        name: Of the part.
        options: As the pattern gives them.
    """

    name: str
    options: dict[str, Any]

    def __str__(self) -> str:
        options = ", ".join(f"{name}={_written(value)}" for name, value in self.options.items())
        return f"{self.name}({options})" if options else self.name


def split_pattern(pattern: str) -> list[list[PartText]]:
    """Returns the entries of a pattern, each as its parts from left to right.

    Raises:
        ConfigError: `pattern` is no text, has more than `MAX_LAYERS` entries, or holds options that cannot
            be read. Names are not checked.
    """
    if not isinstance(pattern, str):
        raise ConfigError(f"`block_pattern` must be a text; received {shown(pattern)}")
    text = NAMED_PATTERNS.get(pattern.strip(), pattern)
    entries = _split(text, ",")
    if len(entries) > MAX_LAYERS:
        raise ConfigError(
            f"`block_pattern` must have at most {MAX_LAYERS:,} entries; received {len(entries):,}; repeat a "
            "short pattern with `num_reasoning_blocks`"
        )
    return [[_part_text(part, pattern) for part in _split(entry, "+")] for entry in entries]


def _split(text: str, separator: str) -> list[str]:
    """Splits at separators outside parentheses."""
    if "(" not in text:
        return text.split(separator)
    pieces, depth, start = [], 0, 0
    for index, character in enumerate(text):
        if character == separator and depth == 0:
            pieces.append(text[start:index])
            start = index + 1
        depth += (character == "(") - (character == ")")
    return [*pieces, text[start:]]


def _part_text(text: str, pattern: str) -> PartText:
    match = _OPTIONS.fullmatch(text)
    if match is None:
        return PartText(text.strip(), {})
    options: dict[str, Any] = {}
    for option in match.group(2).split(","):
        name, equals, value = (piece.strip() for piece in option.partition("="))
        if not name.isidentifier() or not equals or not value or name in options:
            raise ConfigError(
                f"`block_pattern` {shown(pattern)} has the option {shown(option.strip())}; write each option "
                "once, as `name(option=value, option=value)`"
            )
        options[name] = _read(value)
    return PartText(match.group(1).strip(), options)


def _read(value: str) -> Any:
    """A number, true, false, none, or a word."""
    if value.lower() in _WORDS:
        return _WORDS[value.lower()]
    try:
        number = ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value
    return number if isinstance(number, (int, float, str)) else value


def _written(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return str(value)
