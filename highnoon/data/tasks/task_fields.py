"""Fields of a task's records, with one-line errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from highnoon.data.bad_records import BadRecordError
from highnoon.data.records.record_kind import first_field
from highnoon.data.records.record_values import is_absent, plain_value, require_text, shown_names
from highnoon.files.foreign import ForeignDataError, parse_json, require_depth

if TYPE_CHECKING:
    from highnoon.data.tasks.task_definition import TaskDefinition
    from highnoon.data.tasks.task_example import TaskExample

_SHOWN = 40


def text_field(
    task: str, record: Mapping[str, Any], names: tuple[str, ...], location: str, *, is_stripped: bool = True
) -> str:
    """Returns the text of the first of `names` that a record has.

    Args:
        task: Name of the task.
        record: Its fields.
        names: Names that the field may have.
        location: Where the record was read from.
        is_stripped: Whether to remove white space at both ends.

    Raises:
        BadRecordError: If it has none of them, or the value is no text or empty.
    """
    name = _present(task, record, names, location)
    text = require_text(record[name], name, location)
    return text.strip() if is_stripped else text


def list_field(task: str, record: Mapping[str, Any], names: tuple[str, ...], location: str) -> list[Any]:
    """Returns a list in the first of `names` that a record has, or of its JSON text.

    Raises:
        BadRecordError: If it has none of them, or the value is no list or empty.
    """
    name = _present(task, record, names, location)
    value = plain_value(record[name], location)
    try:
        if isinstance(value, str):
            value = parse_json(value, f"`{name}`", (list, dict))
        else:
            require_depth(value, f"`{name}`")
    except ForeignDataError as error:
        raise field_error(location, name, "a list, or its JSON text", str(error)) from None
    value = [value] if isinstance(value, dict) else value
    if not isinstance(value, list) or not value:
        raise field_error(location, name, "a list, or its JSON text", _shown(value))
    return value


def read_example(definition: TaskDefinition, record: Mapping[str, Any], location: str) -> TaskExample | None:
    """Returns `definition.example(record, location)`.

    Raises:
        BadRecordError: If the record cannot be used, also where the task of another package reads it
            without checks: a field that is missing (`KeyError`) or has a value of another type.
    """
    try:
        return definition.example(record, location)
    except BadRecordError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        is_missing = isinstance(error, KeyError) and error.args[:1] and error.args[0] not in record
        reason = (
            f"needs the field `{error.args[0]}`"
            if is_missing
            else f"cannot read the record ({type(error).__name__}: {str(error)[:_SHOWN]})"
        )
        raise BadRecordError(
            f"{location}: the task `{definition.name}` {reason}; the fields are {shown_names(record)}",
            f"no {error.args[0]}" if is_missing else "unreadable record",
            location,
        ) from error


def field_error(location: str, name: str, expected: str, received: str) -> BadRecordError:
    """Returns the error for a field with a wrong value."""
    return BadRecordError(
        f"{location}: `{name}` must be {expected}; received {received}; fix or remove the record",
        f"bad {name}",
        location,
    )


def _present(task: str, record: Mapping[str, Any], names: tuple[str, ...], location: str) -> str:
    name = first_field([key for key in record if not is_absent(record[key])], names)
    if name is None:
        raise BadRecordError(
            f"{location}: the task `{task}` needs the field {' or '.join(f'`{key}`' for key in names)}; the "
            f"fields are {shown_names(record)}",
            f"no {names[0]}",
            location,
        )
    return name


def _shown(value: Any) -> str:
    return f"{type(value).__name__} {str(value)[:_SHOWN]!r}"
