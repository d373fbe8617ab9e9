"""A record as a JSON object."""

from __future__ import annotations

import json
from typing import Any

from highnoon.data.bad_records import BadRecordError
from highnoon.files.foreign import MAX_DEPTH, ForeignDataError, parse_json, require_depth


def json_record(text: str, location: str) -> dict[str, Any]:
    """Returns the fields of a JSON object.

    Raises:
        BadRecordError: If the text is not JSON, not an object, or nested too deeply.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = _parse_again(text, location)
    # A text of up to 64 characters cannot be nested deeper than 64.
    if isinstance(values, dict) and (
        len(text) <= MAX_DEPTH or text.count("[") + text.count("{") <= MAX_DEPTH
    ):
        return values
    return require_record(values, True, location)


def require_record(values: Any, may_be_deep: bool, location: str) -> dict[str, Any]:
    """Returns a parsed value, after checking that it is the fields of a record.

    Args:
        values: The value.
        may_be_deep: Whether its text has more than 64 brackets, so that its depth must be checked.
        location: Its location, for errors.

    Raises:
        BadRecordError: If it is not an object, or nested too deeply.
    """
    if not isinstance(values, dict):
        raise BadRecordError(
            f"{location}: expected a JSON object; received {type(values).__name__}",
            "no JSON object",
            location,
        )
    if may_be_deep:
        try:
            require_depth(values, location)
        except ForeignDataError as error:
            raise too_deep(error, location) from None
    record: dict[str, Any] = values
    return record


def too_deep(error: Exception, location: str) -> BadRecordError:
    """Returns the error for a record whose lists and objects are nested too deeply."""
    return BadRecordError(
        f"{location}: {str(error).removeprefix(location).lstrip()}; flatten the record",
        "nested too deep",
        location,
    )


def _parse_again(text: str, location: str) -> Any:
    """Parses the text with the strict parser, to raise its error."""
    try:
        # Without the end of the line, which would be a control character in a text that is cut off.
        return parse_json(text.rstrip("\r\n"), location, object)
    except ForeignDataError as error:
        if "deep" in str(error):
            raise too_deep(error, location) from None
        reason = str(error).removeprefix(f"{location} is not valid JSON: ")
        raise BadRecordError(
            f"{location}: expected a JSON object; this is not JSON ({reason})", "not JSON", location
        ) from None
