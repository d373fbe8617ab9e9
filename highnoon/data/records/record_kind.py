"""The kind of a record: text, conversation, instruction or preference."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from highnoon.data.records.record_values import is_absent

KINDS = ("text", "chat", "instruction", "preference")

TEXT_FIELDS = ("text", "content")
CHAT_FIELDS = ("messages", "conversations")
INSTRUCTION_FIELDS = ("instruction", "prompt", "question")
RESPONSE_FIELDS = ("response", "output", "answer", "completion")
PREFERENCE_FIELDS = ("chosen", "rejected")

FIELDS_OF_KIND = {
    "text": TEXT_FIELDS,
    "chat": CHAT_FIELDS,
    "instruction": (*INSTRUCTION_FIELDS, *RESPONSE_FIELDS),
    "preference": PREFERENCE_FIELDS,
}

KNOWN_FIELDS = (
    *TEXT_FIELDS,
    *CHAT_FIELDS,
    *INSTRUCTION_FIELDS,
    "input",
    *RESPONSE_FIELDS,
    *PREFERENCE_FIELDS,
)


def record_kind(fields: Collection[str]) -> str | None:
    """Returns the kind of a record with these fields, or None if it is unknown.

    The first that matches: `text`; `messages` or `conversations` (chat); one of `instruction`, `prompt`,
    `question` with one of `response`, `output`, `answer`, `completion` (instruction); `chosen` with
    `rejected` (preference); `content` (text). Pass only the fields that are not empty, see `present_fields`.
    """
    if "text" in fields:
        return "text"
    if first_field(fields, CHAT_FIELDS):
        return "chat"
    if first_field(fields, INSTRUCTION_FIELDS) and first_field(fields, RESPONSE_FIELDS):
        return "instruction"
    if all(field in fields for field in PREFERENCE_FIELDS):
        return "preference"
    return "text" if "content" in fields else None


def present_fields(values: Mapping[str, Any]) -> list[str]:
    """Returns the known fields of a record that are not null, NaN, blank or empty.

    An instruction may be in `input` alone: then the instruction's own field counts as present.
    """
    present = [name for name in KNOWN_FIELDS if name in values and not is_absent(values[name])]
    if "input" in present and not first_field(present, INSTRUCTION_FIELDS):
        present += [name for name in INSTRUCTION_FIELDS if name in values][:1]
    return present


def first_field(fields: Collection[str], names: Collection[str]) -> str | None:
    """Returns the first of `names` that is in `fields`."""
    return next((name for name in names if name in fields), None)
