"""Conversation turns as earlier versions read them, for the fingerprints of files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from highnoon.data.bad_records import BadRecordError
from highnoon.data.records.chat_turns import chat_turns
from highnoon.data.records.record_values import plain_value
from highnoon.tokenization.chat.chat_template import TOOL_FIELDS, has_words, is_supervised

# (role, content, whether it is supervised) of each turn.
Turns = list[tuple[str, Any, bool]]

_ROLES = {
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "chatbot", "model"), "assistant"),
}


def earlier_turns(value: Any, is_default: bool) -> Turns | None:
    """Returns the turns that earlier versions read, or None if they raised an error.

    Args:
        value: A conversation of a record, as parsed from JSON.
        is_default: Whether the default template writes it, which accepts text only.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if isinstance(value, dict) and value and all(isinstance(column, list) for column in value.values()):
        if len({len(column) for column in value.values()}) > 1:
            return None
        value = [dict(zip(value, turn, strict=True)) for turn in zip(*value.values(), strict=True)]
    if not isinstance(value, list) or not value:
        return None
    turns = [_earlier_turn(turn, is_default) for turn in value]
    read = [turn for turn in turns if turn is not None]
    return read if len(read) == len(turns) else None


def present_turns(value: Any, is_default: bool) -> Turns | None:
    """Returns the turns that are read now, or None if they are an error; see `earlier_turns`."""
    try:
        turns = chat_turns(plain_value(value, ""), "", "")
    except BadRecordError:
        return None
    if is_default and not all(map(_is_text_alone, turns)):
        return None
    return [(turn["role"], turn["content"], is_supervised(turn)) for turn in turns]


def _earlier_turn(turn: Any, is_default: bool) -> tuple[str, Any, bool] | None:
    if not isinstance(turn, Mapping):
        return None
    role_field, words_field = ("role", "content") if "role" in turn else ("from", "value")
    name = turn.get(role_field)
    if not isinstance(name, str) or words_field not in turn:
        return None
    # Other fields of a turn were kept, so a `content` next to `value` replaced it.
    role, words = _ROLES.get(name, name), turn.get("content", turn[words_field])
    if is_default and not isinstance(words, str):
        return None
    return role, words, role == "assistant" and (is_default or has_words({"content": words}))


def _is_text_alone(turn: Mapping[str, Any]) -> bool:
    return isinstance(turn["content"], str) and not any(turn.get(name) for name in TOOL_FIELDS)
