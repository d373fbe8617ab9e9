"""The task `function_call`: a question and functions to the calls that answer it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from highnoon.data.tasks.function_text import calls_text, function_lines, json_schema
from highnoon.data.tasks.glaive_chat import GlaiveChat, glaive_chat
from highnoon.data.tasks.synthetic.functions import function_record
from highnoon.data.tasks.task_definition import TaskData, TaskDefinition
from highnoon.data.tasks.task_example import TaskExample
from highnoon.data.tasks.task_fields import field_error, list_field, text_field

HEADING = "Functions:"
"""The first line of the system turn of `function_call` and `tool_use`; the functions follow, one a line."""


class FunctionCall(TaskDefinition):
    """A question and functions to the calls that answer it.

    The system turn lists the functions, see `function_text.function_lines`; the user's turn is the question;
    the answer is a JSON list of calls:

        Functions:
        area(base: integer, height: integer, unit?: string) - The area of a triangle.

        [{"name": "area", "arguments": {"base": 10, "height": 5}}]

    Two forms of records are read:

    - BFCL: `instruction`, `functions` and `expected`, the accepted calls. The answer has the first accepted
      value of each argument. An optional argument is in it only if its value is in the question.
    - Glaive v2: `system`, with the functions as JSON, and `chat`. The turns before the first call are the
      prompt, and the call is the answer. Conversations without a call are skipped and counted.

    If both datasets are there, all of BFCL is held out.

    Patil et al. 2025, "The Berkeley Function Calling Leaderboard (BFCL)".
    """

    name = "function_call"
    datasets = (
        TaskData("Glaive Function Calling v2", ("glaive",), "glaiveai/glaive-function-calling-v2"),
        TaskData("BFCL", ("bfcl",), validation_only_with="Glaive Function Calling v2"),
    )

    fields = ("instruction", "question", "functions", "tools", "expected", "system", "chat")

    def example(self, record: Mapping[str, Any], location: str) -> TaskExample | None:
        if "chat" in record:
            return self._of_glaive(glaive_chat(record, location))
        asked = text_field(self.name, record, ("instruction", "question"), location)
        functions = list_field(self.name, record, ("functions", "tools"), location)
        tools = checked_tools(functions, "functions", location)
        expected = list_field(self.name, record, ("expected",), location)
        calls = [_gold_call(call, tools, asked, location) for call in expected]
        turns = [{"role": "system", "content": system_text(tools)}, {"role": "user", "content": asked}]
        return TaskExample(self.name, "", turns, calls_text(calls), expected, tools)

    def synthesize(self, rng: random.Random) -> Mapping[str, Any]:
        return function_record(rng)

    def _of_glaive(self, chat: GlaiveChat | None) -> TaskExample | None:
        if chat is None:
            return None
        tools = [{**tool, "parameters": json_schema(tool.get("parameters") or {})} for tool in chat.functions]
        turns = [{"role": "system", "content": system_text(tools)}, *chat.turns]
        name, arguments = chat.call["name"], chat.call["arguments"]
        expected = [{name: {key: [value] for key, value in arguments.items()}}]
        return TaskExample(self.name, "", turns, calls_text([chat.call]), expected, tools)


def system_text(tools: Sequence[Mapping[str, Any]]) -> str:
    """Returns the words of the system turn that lists functions."""
    return f"{HEADING}\n{function_lines(tools)}"


def checked_tools(functions: Sequence[Any], field: str, location: str) -> list[dict[str, Any]]:
    """Returns functions with JSON schemas of their parameters.

    Raises:
        BadRecordError: If one has no name, or parameters that are no object.
    """
    tools = []
    for function in functions:
        named = isinstance(function, Mapping) and isinstance(function.get("name"), str) and function["name"]
        parameters = function.get("parameters") if isinstance(function, Mapping) else None
        if not named or not isinstance({} if parameters is None else parameters, Mapping):
            raise field_error(
                location, field, "a list of objects with `name` and `parameters`", repr(function)[:60]
            )
        tools.append({**function, "parameters": json_schema(parameters or {"type": "object"})})
    return tools


def _gold_call(call: Any, tools: Sequence[Mapping[str, Any]], asked: str, location: str) -> dict[str, Any]:
    """Returns a call with one of the accepted values for each argument."""
    name, accepted = next(iter(call.items())) if isinstance(call, Mapping) and len(call) == 1 else ("", None)
    tool = next((tool for tool in tools if tool["name"] == name), None)
    is_of_lists = isinstance(accepted, Mapping) and all(
        isinstance(values, list) and values for values in accepted.values()
    )
    if tool is None or not isinstance(accepted, Mapping) or not is_of_lists:
        raise field_error(
            location,
            "expected",
            "a list of {function: {argument: [accepted values]}}, each function one of `functions`",
            repr(call)[:60],
        )
    required = tool["parameters"].get("required") or ()
    arguments = {}
    for key, values in accepted.items():
        value = _first(values)
        is_optional = "" in values and key not in required
        if not is_optional or _is_said(value, asked):
            arguments[key] = _gold_value(value)
    return {"name": name, "arguments": arguments}


def _gold_value(value: Any) -> Any:
    """Returns a value; an object has the accepted values of each of its fields."""
    if isinstance(value, Mapping):
        return {
            key: _gold_value(_first(values)) if isinstance(values, list) and values else values
            for key, values in value.items()
            if not (isinstance(values, list) and "" in values)
        }
    if isinstance(value, list):
        return [_gold_value(part) for part in value]
    return value


def _first(values: Sequence[Any]) -> Any:
    return next((value for value in values if value != ""), "")


def _is_said(value: Any, asked: str) -> bool:
    """Returns whether a text or a number is in the question."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return False
    words = str(value).lower()
    return bool(words) and words in asked.lower()
