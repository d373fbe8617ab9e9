"""The fields of a row that is written as a JSON object."""

from __future__ import annotations

import json
from typing import Any

from highnoon.data.records.bad_records import BadRowError
from highnoon.files.foreign import MAX_DEPTH, ForeignDataError, parse_json, require_depth


def json_row(text: str, place: str) -> dict[str, Any]:
    """Returns the fields of a JSON object.

    Raises:
        BadRowError: the text is no JSON, is nested too deep, or is no object.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = _parse_again(text, place)
    # A text of 64 characters is not nested deeper than that.
    if isinstance(values, dict) and (
        len(text) <= MAX_DEPTH or text.count("[") + text.count("{") <= MAX_DEPTH
    ):
        return values
    return require_row(values, True, place)


def require_row(values: Any, may_be_deep: bool, place: str) -> dict[str, Any]:
    """Returns a parsed value that is the fields of a row.

    Args:
        values: The value.
        may_be_deep: Whether its text has more than 64 brackets, so that its depth has to be checked.
        place: Where it stands, for errors.

    Raises:
        BadRowError: it is nested too deep, or is no object.
    """
    if not isinstance(values, dict):
        raise BadRowError(
            f"{place}: expected a JSON object; received {type(values).__name__}", "no JSON object", place
        )
    if may_be_deep:
        try:
            require_depth(values, place)
        except ForeignDataError as error:
            raise too_deep(error, place) from None
    row: dict[str, Any] = values
    return row


def too_deep(error: Exception, place: str) -> BadRowError:
    """Returns the error of a row whose lists and objects are nested too deep."""
    return BadRowError(
        f"{place}: {str(error).removeprefix(place).lstrip()}; flatten the row", "nested too deep", place
    )


def _parse_again(text: str, place: str) -> Any:
    """Raises what is wrong with the text, in the words of the one parser of foreign JSON."""
    try:
        return parse_json(text, place, object)
    except ForeignDataError as error:
        if "deep" in str(error):
            raise too_deep(error, place) from None
        reason = str(error).removeprefix(f"{place} is not valid JSON: ")
        raise BadRowError(
            f"{place}: expected a JSON object; this is not JSON ({reason})", "not JSON", place
        ) from None
