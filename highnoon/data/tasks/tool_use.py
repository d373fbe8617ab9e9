"""The task `tool_use`: a request that takes several calls, in order."""

from __future__ import annotations

import ast
import json
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from highnoon.data.records.chat_turns import chat_turns
from highnoon.data.tasks.function_call import checked_tools, system_text
from highnoon.data.tasks.function_text import calls_text
from highnoon.data.tasks.synthetic.tools import tool_record
from highnoon.data.tasks.task_definition import TaskData, TaskDefinition
from highnoon.data.tasks.task_example import TaskExample
from highnoon.data.tasks.task_fields import field_error, list_field, text_field
from highnoon.data.tasks.tool_effects import ToolEffectError, apply_effects

_ACTION = re.compile(r"Action:\s*(\S+)\s*Action Input:\s*(\{.*\})", re.DOTALL)
_FINISH = "Finish"
_MOST_CALLS = 32
_MOST_CHARACTERS = 200_000


class ToolUse(TaskDefinition):
    """A request that takes several calls, in order.

    The template is that of `function_call`; the order of the calls counts. Two forms of records are read:

    - `instruction`, `tools`, `calls` (a list of `name` and `arguments`), and optionally `state`, the
      simulated state before the calls: `effects` of the tools give the state after them, see `ToolManifest`.
    - ToolBench: `conversations` of a system turn with the APIs, a request, and turns with `Action:` and
      `Action Input:`. The calls before `Finish` are the answer; conversations without one are skipped and
      counted.

    The data is optional in a curriculum: where it is missing, the other weights are scaled up.

    Qin et al. 2023, "ToolLLM: facilitating large language models to master 16000+ real-world APIs".
    """

    name = "tool_use"
    datasets = (TaskData("ToolBench", ("toolbench", "toolllama"), "tuandunghcmut/toolbench-v1"),)
    fields = ("instruction", "tools", "functions", "calls", "state", "conversations")
    is_optional = True

    def example(self, record: Mapping[str, Any], location: str) -> TaskExample | None:
        if "conversations" in record:
            return self._of_toolbench(record["conversations"], location)
        asked = text_field(self.name, record, ("instruction",), location)
        tools = checked_tools(
            list_field(self.name, record, ("tools", "functions"), location), "tools", location
        )
        calls = list_field(self.name, record, ("calls",), location)
        return self._example(asked, tools, calls, record.get("state"), location)

    def synthesize(self, rng: random.Random) -> Mapping[str, Any]:
        return tool_record(rng)

    def _example(
        self,
        asked: str,
        tools: Sequence[Mapping[str, Any]],
        calls: Sequence[Any],
        state: Any,
        location: str,
    ) -> TaskExample:
        by_name = {tool["name"]: tool for tool in tools}
        for call in calls:
            is_call = isinstance(call, Mapping) and isinstance(call.get("arguments"), Mapping)
            if not is_call or call.get("name") not in by_name:
                form = "a list of `name`, one of `tools`, and `arguments`"
                raise field_error(location, "calls", form, repr(call)[:60])
        expected = {"calls": [dict(call) for call in calls], "state": state, "final_state": None}
        if state is not None:
            expected["final_state"] = _final_state(state, by_name, calls, location)
        turns = [{"role": "system", "content": system_text(tools)}, {"role": "user", "content": asked}]
        return TaskExample(self.name, "", turns, calls_text(calls), expected, tools)

    def _of_toolbench(self, conversations: Any, location: str) -> TaskExample | None:
        turns = chat_turns(conversations, "conversations", location)
        said = {turn["role"]: str(turn["content"]) for turn in reversed(turns)}
        calls = _actions([turn for turn in turns if turn["role"] == "assistant"], location)
        if not calls or "system" not in said or "user" not in said:
            return None
        tools = checked_tools(_apis(said["system"], location), "conversations", location)
        asked = said["user"].strip().removesuffix("Begin!").strip()
        return self._example(asked, tools, calls, None, location)


def _final_state(
    state: Any, tools: Mapping[str, Mapping[str, Any]], calls: Sequence[Any], location: str
) -> dict[str, Any]:
    if not isinstance(state, Mapping):
        raise field_error(location, "state", "an object", repr(state)[:60])
    after = dict(state)
    try:
        for call in calls:
            after = apply_effects(after, tools[call["name"]].get("effects") or (), call["arguments"])
    except ToolEffectError as error:
        raise field_error(
            location, "state", "a state that the effects of the tools fit", str(error)
        ) from None
    return after


def _actions(turns: Sequence[Mapping[str, Any]], location: str) -> list[dict[str, Any]]:
    """Returns the calls of a conversation of ToolBench before `Finish`."""
    calls: list[dict[str, Any]] = []
    for turn in turns[:_MOST_CALLS]:
        found = _ACTION.search(str(turn["content"])[:_MOST_CHARACTERS])
        if found is None or found[1] == _FINISH:
            continue
        try:
            arguments = json.loads(found[2])
        except (ValueError, RecursionError):
            arguments = None
        if not isinstance(arguments, dict):
            raise field_error(location, "conversations", "an `Action Input` of JSON", found[2][:40])
        calls.append({"name": found[1], "arguments": arguments})
    return calls


def _apis(system: str, location: str) -> list[Any]:
    """Returns the APIs of a system turn of ToolBench: a list that is written as Python or as JSON."""
    start = system.find("[{")
    text = system[start : system.rfind("]") + 1] if start >= 0 else ""
    try:
        apis = ast.literal_eval(text) if len(text) <= _MOST_CHARACTERS else None
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        apis = None
    if not isinstance(apis, list):
        raise field_error(location, "conversations", "a system turn with a list of APIs", system[-40:])
    return [api for api in apis if not (isinstance(api, Mapping) and api.get("name") == _FINISH)]
