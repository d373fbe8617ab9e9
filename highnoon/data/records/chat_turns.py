"""Conversations of records in one form: a list of `{"role": ..., "content": ...}`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from highnoon.data.bad_records import BadRecordError
from highnoon.data.records.record_values import is_absent, plain_value, shown_names
from highnoon.files.foreign import ForeignDataError, parse_json, require_depth
from highnoon.tokenization.chat.chat_template import TOOL_FIELDS

Message = dict[str, Any]

# Names of each role in published datasets, in lower case with `_` between words.
_NAMES = {
    "user": ("user", "human", "prompter", "usr", "person", "customer", "questioner", "asker", "instruction"),
    "assistant": (
        "assistant",
        "gpt",
        "chatgpt",
        "gpt_3.5",
        "gpt_4",
        "gpt4",
        "ai",
        "ai_assistant",
        "bot",
        "chatbot",
        "model",
        "llm",
        "bard",
        "bing",
        "claude",
        "gemini",
        "answerer",
        "function_call",
        "tool_call",
    ),
    "system": ("system", "developer", "system_prompt"),
    "tool": (
        "tool",
        "function",
        "observation",
        "ipython",
        "tool_response",
        "function_response",
        "tool_result",
        "function_result",
        "tool_output",
        "environment",
    ),
}
_ROLES = {name: role for role, names in _NAMES.items() for name in names}
_BETWEEN_WORDS = re.compile(r"[\s_-]+")

_ROLE_FIELDS = ("role", "from", "speaker", "author", "sender")
_WORDS_FIELDS = ("content", "value", "text", "message", "parts", "utterance")

# Fields of a turn that say whether it is supervised, as in the formats of OpenAI and Axolotl.
LEARN_FIELDS = ("learn", "weight", "train", "train_on", "training", "loss", "trainable")
_SHOWN = 40

# Parts of text in the formats of OpenAI.
_TEXT_PARTS = ("text", "input_text", "output_text")


def chat_turns(value: Any, field: str, location: str) -> list[Message]:
    """Returns the turns of a conversation.

    The role of a turn is in `role`, `from`, `speaker`, `author` or `sender`; its text is in `content`,
    `value`, `text`, `message`, `parts` or `utterance`; null counts as absent. A list of text parts is joined.
    Role names map to `user`, `assistant`, `system` and `tool`, in any case. Columns,
    `{"role": [...], "content": [...]}`, and JSON text are accepted too. A flag of an assistant turn, such as
    `weight: 0` or `train: false`, becomes `learn`. Other fields of a turn are kept for chat templates.

    Args:
        value: The conversation.
        field: The name of its field, for errors.
        location: The location of the record, for errors.

    Raises:
        BadRecordError: If the value is not a list of such turns, is empty, or has an unknown role or flag.
    """
    try:
        if isinstance(value, str):
            value = parse_json(value, f"`{field}`", (list, dict))
        else:
            require_depth(value, f"`{field}`")
    except ForeignDataError as error:
        found = f"{value[:_SHOWN]!r}, text that is not JSON" if isinstance(value, str) else str(error)
        raise _expected(field, location, found) from None
    value = plain_value(value, location)
    if isinstance(value, dict) and value and all(isinstance(column, list) for column in value.values()):
        if len({len(column) for column in value.values()}) > 1:
            raise _expected(field, location, "columns of several lengths")
        value = [dict(zip(value, turn, strict=True)) for turn in zip(*value.values(), strict=True)]
    if not isinstance(value, list) or not value:
        raise _expected(field, location, "an empty list" if value == [] else type(value).__name__)
    return [_message(turn, field, location) for turn in value]


def chat_tools(value: Any, location: str) -> list[Any] | None:
    """Returns the tools of a record, a list or its JSON text; None if it has none.

    Raises:
        BadRecordError: If the value is no list of objects.
    """
    if is_absent(value):
        return None
    value = plain_value(value, location)
    try:
        tools = parse_json(value, "`tools`", (list, dict)) if isinstance(value, str) else value
        require_depth(tools, "`tools`")
    except ForeignDataError:
        tools = None
    if isinstance(tools, dict):
        tools = [tools]
    if not isinstance(tools, list) or not all(isinstance(tool, Mapping) for tool in tools):
        raise BadRecordError(
            f"{location}: `tools` must be a list of objects, or its JSON text; received "
            f"{str(value)[:_SHOWN]!r}; fix or remove it",
            "bad tools",
            location,
        )
    return tools or None


def _message(turn: Any, field: str, location: str) -> Message:
    if not isinstance(turn, Mapping):
        raise _expected(field, location, f"a turn of type {type(turn).__name__}")
    role_fields = [name for name in _ROLE_FIELDS if not is_absent(turn.get(name))]
    words_field = _first_with_value(turn, _WORDS_FIELDS)
    if words_field is None and any(turn.get(name) for name in TOOL_FIELDS):
        # A turn that calls a tool may leave its content out.
        words_field, turn = "content", {**turn, "content": None}
    if not role_fields or words_field is None:
        raise _expected(field, location, f"a turn with {shown_names(turn)} alone")
    named = [name for name in role_fields if name in ("role", "from")] or role_fields[:1]
    roles = {_role(_role_name(turn[name], name, field, location), location) for name in named}
    if len(roles) > 1:
        raise BadRecordError(
            f"{location}: a turn has two roles, {' and '.join(sorted(roles))}, in `role` and `from`; keep "
            f"one of them",
            "two roles",
            location,
        )
    role = roles.pop()
    learn = _is_to_learn(turn, role, location)
    used = {words_field, "content", "learn", "role", "from", *named}
    rest = {name: value for name, value in turn.items() if name not in used}
    words = turn[words_field]
    is_in_parts = words_field == "parts" or _is_text_parts(words)
    return {
        "role": role,
        "content": _joined(words, location) if is_in_parts else words,
        **({} if learn is None else {"learn": learn}),
        **rest,
    }


def _first_with_value(turn: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """Returns the first field that is present and not null, or else the first that is present."""
    there = [name for name in names if name in turn]
    return next((name for name in there if not is_absent(turn[name])), there[0] if there else None)


def _role_name(value: Any, name: str, field: str, location: str) -> str:
    if isinstance(value, Mapping) and name == "author":
        value = value.get("role")
    if not isinstance(value, str):
        raise _expected(field, location, f"a {name} of type {type(value).__name__}")
    return value


def _role(name: str, location: str) -> str:
    role = _ROLES.get(_BETWEEN_WORDS.sub("_", name.strip().casefold()))
    if role is None:
        raise BadRecordError(
            f"{location}: the role {name[:_SHOWN]!r} of a turn is unknown; expected user, assistant, system, "
            f"tool or another name of these, such as human and gpt; rename it",
            "unknown role",
            location,
        )
    return role


def _is_to_learn(turn: Mapping[str, Any], role: str, location: str) -> bool | None:
    """Returns whether the flags of a turn supervise it; None if it has no relevant flag."""
    flags = [(name, turn[name]) for name in LEARN_FIELDS if turn.get(name) is not None]
    for name, flag in flags:
        if not isinstance(flag, (bool, int, float)) or flag not in (0, 1):
            raise BadRecordError(
                f"{location}: `{name}` of a turn, which says whether it is supervised, must be true, false, "
                f"1 or 0; received {str(flag)[:_SHOWN]!r}",
                "unknown flag",
                location,
            )
    values = {bool(flag) for _, flag in flags}
    if len(values) > 1:
        raise BadRecordError(
            f"{location}: {' and '.join(f'`{name}`' for name, _ in flags)} of a turn contradict "
            f"each other; keep one of them",
            "unknown flag",
            location,
        )
    if role != "assistant":
        if True in values:
            raise BadRecordError(
                f"{location}: `{flags[0][0]}` supervises a {role} turn, but only assistant turns can be "
                f"supervised; remove it",
                "unknown flag",
                location,
            )
        return None
    return values.pop() if values else None


def _is_text_parts(words: Any) -> bool:
    """Returns whether the content is a list of text parts, as in OpenAI's format; an image part is not."""
    return (
        isinstance(words, list)
        and bool(words)
        and all(
            isinstance(part, Mapping)
            and part.get("type") in _TEXT_PARTS
            and isinstance(part.get("text"), str)
            for part in words
        )
    )


def _joined(parts: Any, location: str) -> str:
    """Joins the text parts of a turn, as in the formats of Gemini and OpenAI."""
    texts = [
        part.get("text") if isinstance(part, Mapping) else part
        for part in (parts if isinstance(parts, list) else [parts])
    ]
    words = [text for text in texts if isinstance(text, str)]
    if len(words) < len(texts):
        raise BadRecordError(
            f"{location}: the `parts` of a turn must be strings or objects with `text`; received other "
            f"values",
            "not text",
            location,
        )
    return "".join(words)


def _expected(field: str, location: str, found: str) -> BadRecordError:
    return BadRecordError(
        f"{location}: `{field}` must be a list of turns with `role` and `content`, or `from` and "
        f"`value`; received {found}",
        "no conversation",
        location,
    )
