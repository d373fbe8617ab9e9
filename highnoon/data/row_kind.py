"""What a row of named fields is: text, a conversation, an instruction or a preference."""

from __future__ import annotations

from collections.abc import Collection

KINDS = ("text", "chat", "instruction", "preference")

TEXT_FIELDS = ("text", "content")
CHAT_FIELDS = ("messages", "conversations")
INSTRUCTION_FIELDS = ("instruction", "prompt", "question")
RESPONSE_FIELDS = ("response", "output", "answer")
PREFERENCE_FIELDS = ("chosen", "rejected")


def row_kind(fields: Collection[str]) -> str | None:
    """Returns the kind of a row with these fields, None where they tell nothing.

    Asked in this order: `text`; `messages` or `conversations` (chat); one of `instruction`, `prompt`,
    `question` with one of `response`, `output`, `answer` (instruction); `chosen` with `rejected`
    (preference); `content` (text).
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


def first_field(fields: Collection[str], names: Collection[str]) -> str | None:
    """Returns the first of `names` that is among `fields`."""
    return next((name for name in names if name in fields), None)
