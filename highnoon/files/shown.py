"""Quotes any value in an error message as one short line."""

from __future__ import annotations

import itertools
from typing import Any

from highnoon.files.printable import printable

MAX_CHARACTERS = 200
_MAX_ITEMS = 8
_MAX_LEVELS = 3
# Python itself refuses to write longer integers in decimal (`sys.set_int_max_str_digits`).
_MAX_BITS = 600


def shown(value: Any, max_characters: int = MAX_CHARACTERS) -> str:
    """Returns `value` for an error message: like `repr`, on one line, truncated, safe to print.

    The time does not depend on the size of the value, and the result can be encoded as UTF-8.

    Args:
        value: Any JSON or YAML value; other values are quoted by their `repr`.
        max_characters: Maximum length of the result.

    Example:

    ```python
    from highnoon.files.shown import shown

    assert shown([1, "two"]) == "[1, 'two']"
    assert shown("x" * 10_000).endswith("... (10,000 characters)")
    assert shown(10**5000) == "an integer of 16,610 bits"
    ```
    """
    text = _encodable(" ".join(printable(_quoted(value, max_characters, 1)).split("\n")))
    if len(text) <= max_characters:
        return text
    return text[: max_characters - 3] + "..."


def _quoted(value: Any, limit: int, level: int) -> str:
    if isinstance(value, (str, bytes)):
        return _quoted_text(value, limit)
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        return f"an integer of {value.bit_length():,} bits"
    if isinstance(value, dict):
        return _quoted_mapping(value, limit, level)
    if isinstance(value, (list, tuple)):
        marks = "[]" if isinstance(value, list) else "()"
        if value and level > _MAX_LEVELS:
            return f"{marks[0]}...{marks[1]}"
        parts = [_quoted(part, limit, level + 1) for part in value[:_MAX_ITEMS]]
        if len(value) > _MAX_ITEMS:
            parts.append(f"... ({len(value):,} items)")
        return f"{marks[0]}{', '.join(parts)}{marks[1]}"
    try:
        return repr(value)
    except (ValueError, RecursionError):  # it has an integer of too many digits, or is nested too deeply
        return f"a value of type {type(value).__name__}"


def _quoted_text(value: str | bytes, limit: int) -> str:
    kept = limit - 40
    if len(value) <= kept:
        return repr(value)
    unit = "characters" if isinstance(value, str) else "bytes"
    return f"{repr(value[:kept])[: kept + 2]}... ({len(value):,} {unit})"


def _quoted_mapping(value: dict[Any, Any], limit: int, level: int) -> str:
    if value and level > _MAX_LEVELS:
        return "{...}"
    parts = [
        f"{_quoted(key, limit, level + 1)}: {_quoted(part, limit, level + 1)}"
        for key, part in itertools.islice(value.items(), _MAX_ITEMS)
    ]
    if len(value) > _MAX_ITEMS:
        parts.append(f"... ({len(value):,} keys)")
    return "{" + ", ".join(parts) + "}"


def _encodable(text: str) -> str:
    return text.encode("utf-8", errors="backslashreplace").decode("utf-8")
