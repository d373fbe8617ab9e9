"""Parses JSON that somebody else wrote or that a disk has damaged: depth, size and type are checked."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Iterable
from typing import Any

MAX_DEPTH = 64
MAX_BYTES = 64 * 2**20


class ForeignDataError(ValueError):
    """A text that is not the JSON or YAML which was expected: the message is one line."""


def parse_json(
    text: str | bytes, owner: str, expected: type | tuple[type, ...] = dict, max_depth: int = MAX_DEPTH
) -> Any:
    """Returns the value of a JSON text.

    Args:
        text: The text; bytes must be UTF-8.
        owner: Where the text is from, with which an error's message begins.
        expected: The type, or types, that the value must have.
        max_depth: How deep lists and objects may be nested.

    Raises:
        ForeignDataError: the text is no JSON, is nested too deep, or has a value of another type.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise _too_deep(owner, max_depth) from None
    except ValueError as error:
        raise ForeignDataError(f"{owner} is not valid JSON: {_one_line(error)}") from None
    if _may_be_deep(text, max_depth):
        require_depth(value, owner, max_depth)
    return require_type(value, expected, owner)


def read_json(
    path: str | os.PathLike[str],
    expected: type | tuple[type, ...] = dict,
    max_depth: int = MAX_DEPTH,
    max_bytes: int = MAX_BYTES,
) -> Any:
    """Returns the value of a JSON file; see `parse_json`.

    Raises:
        ForeignDataError: as `parse_json`, or the file has more than `max_bytes` bytes.
        OSError: the file cannot be read.
    """
    return parse_json(_read_bytes(path, max_bytes), str(path), expected, max_depth)


def require_type(value: Any, expected: type | tuple[type, ...], owner: str) -> Any:
    """Returns the value where it has the expected type.

    Raises:
        ForeignDataError: it has another.
    """
    if not isinstance(value, expected):
        kinds = expected if isinstance(expected, tuple) else (expected,)
        names = " or ".join(_JSON_NAMES.get(kind, kind.__name__) for kind in kinds)
        received = _JSON_NAMES.get(type(value), type(value).__name__)
        raise ForeignDataError(f"{owner}: expected {names}; received {received}")
    return value


def require_depth(value: Any, owner: str, max_depth: int = MAX_DEPTH) -> None:
    """Checks how deep lists and mappings are nested.

    Raises:
        ForeignDataError: deeper than `max_depth`.
    """
    level, depth = _containers([value]), 0
    while level:
        depth += 1
        if depth > max_depth:
            raise _too_deep(owner, max_depth)
        level = [
            child
            for parent in level
            for child in _containers(parent.values() if isinstance(parent, dict) else parent)
        ]


def _containers(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if isinstance(value, (dict, list))]


def _may_be_deep(text: str | bytes, max_depth: int) -> bool:
    if isinstance(text, str):
        return text.count("[") + text.count("{") > max_depth
    return text.count(b"[") + text.count(b"{") > max_depth


def _read_bytes(path: str | os.PathLike[str], max_bytes: int) -> bytes:
    with pathlib.Path(path).open("rb") as stream:
        content = stream.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ForeignDataError(f"{path} has more than {max_bytes} bytes; expected a smaller file")
    return content


def _too_deep(owner: str, max_depth: int) -> ForeignDataError:
    return ForeignDataError(f"{owner} nests lists or objects more than {max_depth} deep; expected less")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


_JSON_NAMES: dict[type, str] = {
    dict: "an object", list: "a list", str: "a text", int: "an integer", float: "a number", bool: "a boolean",
    type(None): "null",
}
