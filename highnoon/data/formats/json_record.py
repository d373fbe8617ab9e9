"""The fields of a record that is written as a JSON object."""

from __future__ import annotations

import json
from typing import Any

from highnoon.data.bad_records import BadRecordError
from highnoon.files.foreign import MAX_DEPTH, ForeignDataError, parse_json, require_depth


def json_record(text: str, location: str) -> dict[str, Any]:
    """Returns the fields of a JSON object.

    Raises:
        BadRecordError: the text is no JSON, is nested too deep, or is no object.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = _parse_again(text, location)
    # A text of 64 characters is not nested deeper than that.
    if isinstance(values, dict) and (
        len(text) <= MAX_DEPTH or text.count("[") + text.count("{") <= MAX_DEPTH
    ):
        return values
    return require_record(values, True, location)


def require_record(values: Any, may_be_deep: bool, location: str) -> dict[str, Any]:
    """Returns a parsed value that is the fields of a record.

    Args:
        values: The value.
        may_be_deep: Whether its text has more than 64 brackets, so that its depth has to be checked.
        location: Where it stands, for errors.

    Raises:
        BadRecordError: it is nested too deep, or is no object.
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
    """Returns the error of a record whose lists and objects are nested too deep."""
    return BadRecordError(
        f"{location}: {str(error).removeprefix(location).lstrip()}; flatten the record",
        "nested too deep",
        location,
    )


def _parse_again(text: str, location: str) -> Any:
    """Raises what is wrong with the text, in the words of the one parser of foreign JSON."""
    try:
        return parse_json(text, location, object)
    except ForeignDataError as error:
        if "deep" in str(error):
            raise too_deep(error, location) from None
        reason = str(error).removeprefix(f"{location} is not valid JSON: ")
        raise BadRecordError(
            f"{location}: expected a JSON object; this is not JSON ({reason})", "not JSON", location
        ) from None
