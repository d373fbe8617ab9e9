"""Values of records as plain Python values: some readers yield bytes and arrays, others text and lists."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from highnoon.data.bad_records import BadRecordError

_SHOWN_NAMES = 10
_SHOWN_CHARACTERS = 40


def plain_value(value: Any, location: str) -> Any:
    """Returns `value` with bytes as text and arrays as lists, at any depth.

    Raises:
        BadRecordError: If bytes are not UTF-8.
    """
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadRecordError(
                f"{location}: a value is not UTF-8 at byte {error.start} ({error.reason}); convert it to "
                f"UTF-8",
                "not UTF-8",
                location,
            ) from None
    if isinstance(value, (np.ndarray, np.generic)):
        return plain_value(value.tolist(), location)
    if isinstance(value, Mapping):
        return {key: plain_value(part, location) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_value(part, location) for part in value]
    return value


def is_absent(value: Any) -> bool:
    """Returns whether a value is empty: null, NaN, blank text, or a list or mapping without content.

    A mapping whose values are all null or empty lists is a conversation in columns without turns.
    """
    # The frequent types come first: this is called for every record.
    if value is None:
        return True
    if isinstance(value, (str, bytes)):
        return not value or value.isspace()
    if isinstance(value, (int, float)):
        return value != value
    if isinstance(value, (np.ndarray, np.generic)):
        return value.size == 0 or (value.ndim == 0 and is_absent(value.item()))
    if isinstance(value, (list, tuple)):
        return not value
    if isinstance(value, Mapping):
        return all(
            part is None or (isinstance(part, (list, tuple, np.ndarray)) and len(part) == 0)
            for part in value.values()
        )
    return False


def shown_names(names: Iterable[Any]) -> str:
    """Returns field names for a one-line error, at most ten, each truncated to 40 characters."""
    shown = [_shown(str(name)) for name in itertools.islice(names, _SHOWN_NAMES + 1)]
    return ", ".join(shown[:_SHOWN_NAMES]) + (", ..." if len(shown) > _SHOWN_NAMES else "") or "none"


def _shown(name: str) -> str:
    cut = name if len(name) <= _SHOWN_CHARACTERS else f"{name[:_SHOWN_CHARACTERS]}..."
    return cut if cut.isprintable() else cut.encode("unicode_escape").decode("ascii")


def require_text(value: Any, field: str, location: str) -> str:
    """Returns `value` as text that can be encoded; a number or a boolean is written as in JSON.

    Raises:
        BadRecordError: If it is not text, or has a lone surrogate.
    """
    if not isinstance(value, str):
        value = plain_value(value, location)
    if isinstance(value, (bool, int, float)):
        return json.dumps(value)
    if not isinstance(value, str):
        raise BadRecordError(
            f"{location}: expected a string `{field}`; received `{field}` of type {type(value).__name__}",
            "not text",
            location,
        )
    return require_unicode(value, f"`{field}`", location)


def require_unicode(text: str, name: str, location: str) -> str:
    """Returns `text`, after checking that it has no lone surrogate.

    Raises:
        BadRecordError: If it has one.
    """
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise BadRecordError(
                f"{location}: {name} has a lone surrogate at character {error.start}, which is not valid "
                f"Unicode; fix the line",
                "lone surrogate",
                location,
            ) from None
    return text
