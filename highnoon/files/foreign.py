"""Parses JSON and YAML from other sources, or from damaged files: depth, size and type are checked."""

from __future__ import annotations

import json
import os
import pathlib
import stat
from collections.abc import Iterable
from typing import Any

import yaml

from highnoon.files.printable import printable
from highnoon.files.shown import MAX_CHARACTERS
from highnoon.files.yaml_loader import BoundedLoader, RefusedYamlError

MAX_DEPTH = 64
MAX_BYTES = 64 * 2**20
MAX_YAML_BYTES = 2**20


class ForeignDataError(ValueError):
    """A text that is not the expected JSON or YAML; the message is one line."""


def parse_json(
    text: str | bytes, owner: str, expected: type | tuple[type, ...] = dict, max_depth: int = MAX_DEPTH
) -> Any:
    """Returns the value of a JSON text.

    Args:
        text: The text; bytes must be UTF-8.
        owner: The origin of the text, the beginning of error messages.
        expected: The type, or types, that the value must have.
        max_depth: Maximum nesting depth of lists and objects.

    Raises:
        ForeignDataError: If the text is not JSON, is nested too deeply, or has a value of another type.
    """
    try:
        value = json.loads(text if isinstance(text, str) else text.decode("utf-8-sig"))
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
        ForeignDataError: As for `parse_json`; or if `path` is not a regular file or has more than `max_bytes`
            bytes.
        OSError: If the file cannot be read.
    """
    return parse_json(_read_bytes(path, max_bytes), str(path), expected, max_depth)


def parse_yaml(
    text: str | bytes,
    owner: str,
    expected: type | tuple[type, ...] = dict,
    max_depth: int = MAX_DEPTH,
    loader: type[BoundedLoader] = BoundedLoader,
) -> Any:
    """Returns the value of a YAML text with one document (JSON is a subset); see `BoundedLoader`.

    Args:
        text: The text; bytes must be UTF-8.
        owner: The origin of the text, the beginning of error messages.
        expected: The type, or types, that the value must have.
        max_depth: Maximum nesting depth of sequences and mappings.
        loader: `LocatingLoader` records the line of each key.

    Raises:
        ForeignDataError: If the text is not YAML, has a tag, type or key that JSON does not have, has a
            duplicate key, is nested too deeply or too large, or has a value of another type.

    Example:

    ```python
    from highnoon.files.foreign import parse_yaml

    assert parse_yaml("rate: 1e-3\nday: 2020-01-01", "here") == {"rate": 0.001, "day": "2020-01-01"}
    ```
    """
    if len(text) > MAX_YAML_BYTES:
        raise ForeignDataError(f"{owner} has more than {MAX_YAML_BYTES} bytes; expected a smaller text")
    try:
        value = loader(
            text if isinstance(text, str) else text.decode("utf-8-sig"), max_depth
        ).get_single_data()
    except UnicodeDecodeError as error:
        raise ForeignDataError(f"{owner} is not UTF-8 text: {error.reason}; save it as UTF-8") from None
    except yaml.MarkedYAMLError as error:
        raise _not_taken(error, owner) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the last two: `\\U99999999`, `%YAML 1e9`
        raise ForeignDataError(f"{owner} is not valid YAML: {_one_line(error)}") from None
    return require_type(value, expected, owner)


def read_yaml(
    path: str | os.PathLike[str],
    expected: type | tuple[type, ...] = dict,
    max_depth: int = MAX_DEPTH,
    max_bytes: int = MAX_YAML_BYTES,
    loader: type[BoundedLoader] = BoundedLoader,
) -> Any:
    """Returns the value of a YAML or JSON file; see `parse_yaml`.

    Raises:
        ForeignDataError: As for `parse_yaml`; or if `path` is not a regular file or has more than `max_bytes`
            bytes.
        OSError: If the file cannot be read.
    """
    return parse_yaml(_read_bytes(path, max_bytes), str(path), expected, max_depth, loader)


def read_text(path: str | os.PathLike[str], max_bytes: int = MAX_BYTES) -> str:
    """Returns the UTF-8 text of a file.

    Raises:
        ForeignDataError: If it is not UTF-8; or if `path` is not a regular file or has more than `max_bytes`
            bytes.
        OSError: If the file cannot be read.
    """
    try:
        return _read_bytes(path, max_bytes).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ForeignDataError(f"{path} is not UTF-8 text: {error.reason}; save it as UTF-8") from None


def require_type(value: Any, expected: type | tuple[type, ...], owner: str) -> Any:
    """Returns the value, after checking its type.

    Raises:
        ForeignDataError: If it has another type.
    """
    if not isinstance(value, expected):
        kinds = expected if isinstance(expected, tuple) else (expected,)
        names = " or ".join(_JSON_NAMES.get(kind, kind.__name__) for kind in kinds)
        received = _JSON_NAMES.get(type(value), type(value).__name__)
        raise ForeignDataError(f"{owner}: expected {names}; received {received}")
    return value


def require_depth(value: Any, owner: str, max_depth: int = MAX_DEPTH) -> None:
    """Checks the nesting depth of lists and mappings.

    Raises:
        ForeignDataError: If it exceeds `max_depth`.
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
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):  # opening a named pipe would block, and a device has no end
        what = "a folder" if stat.S_ISDIR(mode) else "a device or a pipe"
        raise ForeignDataError(f"{path} is {what}; expected a file")
    with pathlib.Path(path).open("rb") as stream:
        content = stream.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ForeignDataError(f"{path} has more than {max_bytes} bytes; expected a smaller file")
    return content


def _too_deep(owner: str, max_depth: int) -> ForeignDataError:
    return ForeignDataError(f"{owner} nests lists or objects more than {max_depth} deep; expected less")


def _not_taken(error: yaml.MarkedYAMLError, owner: str) -> ForeignDataError:
    mark = error.problem_mark or error.context_mark
    line = f"line {mark.line + 1}" if mark else "somewhere"
    problem = _one_line_text(str(error.problem or error.context))
    if isinstance(error, RefusedYamlError):
        return ForeignDataError(f"{owner}, {line}: {problem}")
    return ForeignDataError(f"{owner} is not valid YAML: {line}: {problem}")


def _one_line(error: Exception) -> str:
    return _one_line_text(str(error))


def _one_line_text(text: str) -> str:
    text = printable(" ".join(text.split())).encode("utf-8", errors="backslashreplace").decode("utf-8")
    return text if len(text) <= MAX_CHARACTERS else f"{text[: MAX_CHARACTERS - 3]}..."


_JSON_NAMES: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a text",
    int: "an integer",
    float: "a number",
    bool: "a boolean",
    type(None): "null",
}
