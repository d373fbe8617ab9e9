"""Parses and checks one line of a metrics file."""

from __future__ import annotations

import sys
from typing import Any

from highnoon.files.foreign import ForeignDataError, parse_json
from highnoon.files.shown import shown
from highnoon.monitoring.metrics.metric_names import MEASURED, canonical_record, metric_of
from highnoon.monitoring.metrics.number import as_number

MAX_INTEGER = 2**53
"""The largest step or count; floats represent all integers up to it."""

_MAX_DEPTH = 16
_MAX_SECONDS = 1e12
_TEXTS = ("event", "stage", "rule", "severity", "message", "advice", "action", "answer", "reason", "run_name")
_COUNTS = ("total_steps", "num_parameters")
_NUMBERS = ("value", "learning_rate_factor")
_FIELDS = (*_TEXTS, *_COUNTS, *_NUMBERS, "time", "vocab_size")


def parse_line(text: bytes, owner: str) -> dict[str, Any]:
    """Returns the values of a line with the canonical names of metrics.

    A field that is null is absent. Unknown metrics may have any value.

    Args:
        text: The line.
        owner: The beginning of error messages.

    Raises:
        ForeignDataError: If the line is not a JSON object, or a field has the wrong type.
    """
    values = parse_json(text, owner, dict, _MAX_DEPTH)
    values = {
        sys.intern(key): value for key, value in values.items() if value is not None or key not in _FIELDS
    }
    if not _is_integer(values.get("step")) or not 0 <= values["step"] <= MAX_INTEGER:
        raise _wrong(owner, "step", "an integer from 0", values.get("step"))
    for name in _FIELDS:
        if name in values:
            _check_field(owner, name, values[name])
    record = canonical_record(values)
    for name, value in record.items():
        is_known = metric_of(name) is not None and record["event"] in MEASURED and value is not None
        is_too_large = "/" in name and _is_integer(value)
        if (is_known or is_too_large) and as_number(value) is None:
            raise _wrong(owner, name, "a number", value)
    return record


def _check_field(owner: str, name: str, value: Any) -> None:
    if name in _TEXTS and not isinstance(value, str):
        raise _wrong(owner, name, "a string", value)
    if name in _COUNTS and not (_is_integer(value) and 0 <= value <= MAX_INTEGER):
        raise _wrong(owner, name, "an integer from 0", value)
    if name == "vocab_size" and not (_is_integer(value) and 1 <= value <= MAX_INTEGER):
        raise _wrong(owner, name, "an integer from 1", value)
    if name in _NUMBERS and as_number(value) is None:
        raise _wrong(owner, name, "a number", value)
    if name == "time":
        seconds = as_number(value)
        if seconds is None or not 0 <= seconds <= _MAX_SECONDS:
            raise _wrong(owner, name, "seconds since the epoch", value)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _wrong(owner: str, name: str, expected: str, value: Any) -> ForeignDataError:
    received = "nothing" if value is None else shown(value, 80)
    field = shown(name, 80)[1:-1]
    return ForeignDataError(f"{owner}: expected `{field}` to be {expected}; received {received}")
