"""Conversations of Glaive Function Calling v2 up to their first call."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from highnoon.data.tasks.task_fields import field_error, text_field

_TURN = re.compile(r"(?:^|\s)(USER|ASSISTANT|FUNCTION RESPONSE): ?")
_CALL = "<functioncall>"
_END = "<|endoftext|>"

# The arguments are JSON within single quotes, which makes the whole no JSON.
_QUOTED = re.compile(r'\{\s*"name"\s*:\s*"([^"]+)"\s*,\s*"arguments"\s*:\s*\'(.*)\'\s*\}', re.DOTALL)
_ROLES = {"USER": "user", "ASSISTANT": "assistant"}
_MOST_FUNCTIONS = 64


class GlaiveChat(NamedTuple):
    """A conversation up to its first call.

    Args:
        functions: The functions of the system turn.
        turns: The turns before the call.
        call: `name` and `arguments` of the call.
    """

    functions: list[dict[str, Any]]
    turns: list[dict[str, Any]]
    call: dict[str, Any]


def glaive_chat(record: Mapping[str, Any], location: str) -> GlaiveChat | None:
    """Returns the conversation of a record with `system` and `chat`, or None if it has no call.

    Raises:
        BadRecordError: If a field is missing, or the call or a function is not in the form of Glaive.
    """
    system = text_field("function_call", record, ("system",), location)
    chat = text_field("function_call", record, ("chat",), location)
    if _CALL not in chat or "{" not in system:
        return None
    pieces = _TURN.split(chat)
    turns: list[dict[str, Any]] = []
    for speaker, words in zip(pieces[1::2], pieces[2::2], strict=True):
        said = words.replace(_END, "").strip()
        if speaker == "ASSISTANT" and _CALL in said:
            if not any(turn["role"] == "user" for turn in turns):
                raise field_error(location, "chat", "a turn of the USER before the call", chat[:40])
            call = _call(said.partition(_CALL)[2].strip(), location)
            return GlaiveChat(_functions(system, location), turns, call)
        if speaker in _ROLES and said:
            turns.append({"role": _ROLES[speaker], "content": said})
    return None


def _functions(system: str, location: str) -> list[dict[str, Any]]:
    """Returns the JSON objects that follow one another in the system turn."""
    decoder = json.JSONDecoder()
    functions: list[dict[str, Any]] = []
    position = system.find("{")
    while position >= 0 and len(functions) < _MOST_FUNCTIONS:
        try:
            function, position = decoder.raw_decode(system, position)
        except (ValueError, RecursionError):
            function = None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise field_error(location, "system", "functions as JSON objects with `name`", system[:40])
        functions.append(function)
        position = system.find("{", position)
    return functions


def _call(text: str, location: str) -> dict[str, Any]:
    quoted = _QUOTED.match(text)
    try:
        if quoted:
            name, arguments = quoted[1], json.loads(quoted[2].replace("\\'", "'"))
        else:
            call = json.JSONDecoder().raw_decode(text)[0]
            name, arguments = call["name"], call.get("arguments", {})
            arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        name, arguments = None, None
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise field_error(location, "chat", 'a call {"name": ..., "arguments": ...}', text[:40])
    return {"name": name, "arguments": arguments}
