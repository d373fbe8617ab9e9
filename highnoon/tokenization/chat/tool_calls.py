"""Tools and their calls as text, for chat templates that write text only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

Message = Mapping[str, Any]

CALL_START, CALL_END = "<tool_call>", "</tool_call>"
TOOLS_START, TOOLS_END = "<tools>", "</tools>"
_HOW_TO_CALL = f'To call a tool, write {CALL_START}{{"name": ..., "arguments": ...}}{CALL_END}.'


def with_tools(messages: Sequence[Message], tools: Sequence[Any] | None = None) -> list[Message]:
    """Returns turns whose content is text alone: calls are written into the answers, tools into the system.

    A call is `<tool_call>{"name": ..., "arguments": ...}</tool_call>`, after the words of its turn. Arguments
    that are JSON text are written as the object they are, so both forms give the same text. The tools are
    listed at the end of the system turn, which is added if there is none.

    Args:
        messages: Turns, with `tool_calls` or `function_call` as in the format of OpenAI.
        tools: The tools that may be called; None writes none.
    """
    written = [_with_calls(message) for message in messages]
    if not tools:
        return written
    listed = "\n".join(
        _json(tool.get("function", tool) if isinstance(tool, Mapping) else tool) for tool in tools
    )
    text = f"{TOOLS_START}\n{listed}\n{TOOLS_END}\n{_HOW_TO_CALL}"
    if written and written[0]["role"] == "system" and isinstance(written[0]["content"], str):
        return [{**written[0], "content": f"{written[0]['content']}\n\n{text}"}, *written[1:]]
    return [{"role": "system", "content": text}, *written]


def _with_calls(message: Message) -> Message:
    calls = message.get("tool_calls") or ([message["function_call"]] if message.get("function_call") else [])
    if not calls:
        return message
    if isinstance(calls, Mapping):
        calls = [calls]
    rest = {key: value for key, value in message.items() if key not in ("tool_calls", "function_call")}
    words = message["content"]
    pieces = [words] if isinstance(words, str) and words.strip() else []
    pieces += [f"{CALL_START}{_json(_call(call))}{CALL_END}" for call in calls]
    return {**rest, "content": "\n".join(pieces)}


def _call(call: Any) -> Any:
    """Returns the name and arguments of a call; anything else is written as it is."""
    inner = call.get("function", call) if isinstance(call, Mapping) else call
    if not isinstance(inner, Mapping) or "name" not in inner:
        return inner
    arguments = inner.get("arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            # Text that is no JSON is the argument itself.
            return {"name": inner["name"], "arguments": arguments}
    return {"name": inner["name"], "arguments": arguments}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
