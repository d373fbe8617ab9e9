"""Conversations as rows hold them, in one form: a list of `{"role": ..., "content": ...}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from highnoon.data.bad_rows import BadRowError
from highnoon.data.row_values import is_absent, plain_value, shown_names
from highnoon.files.foreign import ForeignDataError, parse_json

Message = dict[str, Any]

_ROLES = {
    "human": "user", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "chatbot": "assistant",
    "model": "assistant",
}


def chat_turns(value: Any, field: str, place: str) -> list[Message]:
    """Returns the turns of a conversation.

    A turn has `role` and `content`, or `from` and `value`, whose `human` is a user and whose `gpt` is an
    assistant. A column of lists, `{"role": [...], "content": [...]}`, and JSON text are taken too. What
    else a turn has stays with it, for templates.

    Args:
        value: The conversation.
        field: Its name in the row, for errors.
        place: Where the row is, for errors.

    Raises:
        BadRowError: it is no list of such turns, or has none.
    """
    value = plain_value(value, place)
    if isinstance(value, str):
        try:
            value = parse_json(value, field, object)
        except ForeignDataError:
            raise _expected(field, place, "text that is not JSON") from None
    if isinstance(value, dict) and value and all(isinstance(column, list) for column in value.values()):
        if len({len(column) for column in value.values()}) > 1:
            raise _expected(field, place, "columns of several lengths")
        value = [dict(zip(value, turn, strict=True)) for turn in zip(*value.values(), strict=True)]
    if not isinstance(value, list) or not value:
        raise _expected(field, place, "an empty list" if value == [] else type(value).__name__)
    return [_message(turn, field, place) for turn in value]


def _message(turn: Any, field: str, place: str) -> Message:
    if not isinstance(turn, Mapping):
        raise _expected(field, place, f"a turn of type {type(turn).__name__}")
    # Rows of a table have the names of both forms, one of them null.
    role = "from" if is_absent(turn.get("role")) and "from" in turn else "role"
    words = "value" if turn.get("content") is None and "value" in turn else "content"
    if role not in turn or words not in turn:
        raise _expected(field, place, f"a turn with {shown_names(turn)}")
    if not isinstance(turn[role], str):
        raise _expected(field, place, f"a {role} of type {type(turn[role]).__name__}")
    rest = {name: value for name, value in turn.items() if name not in ("role", "content", role, words)}
    return {"role": _ROLES.get(turn[role], turn[role]), "content": turn[words], **rest}


def _expected(field: str, place: str, found: str) -> BadRowError:
    return BadRowError(f"{place}: `{field}` must be a list of turns with `role` and `content`, or `from` and "
                       f"`value`; received {found}", "no conversation", place)
