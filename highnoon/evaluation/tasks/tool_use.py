"""Verdicts on traces of tool calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from highnoon.data.tasks.tool_manifest import ToolExecutionError, ToolManifest
from highnoon.evaluation.tasks.call_matching import find_function
from highnoon.evaluation.tasks.call_parsing import Call, CallSyntaxError, parse_calls, parse_json_calls
from highnoon.evaluation.tasks.call_schemas import fits_schemas

if TYPE_CHECKING:
    from highnoon.data.tasks.task_example import TaskExample

_MOST_MORE_CALLS = 16


def score_tool_use(example: TaskExample, text: str) -> dict[str, float]:
    """Returns the verdicts on an answer, each in [0, 1].

    - `format`: the entire answer is a JSON list of objects with `name` and `arguments`, and each names a
      function of the prompt.
    - `name_accuracy`: the names are the expected ones, in order.
    - `call_accuracy`: calls that equal the expected one at their position / max(calls expected, calls given).
    - `schema_validity`: the arguments of all calls fit the schemas of their functions.
    - `state_accuracy`: the calls fit their tools and give the expected final state in a dry run of
      `ToolManifest`, at most 16 more of them than expected. Where the example has no state, they must equal
      the expected ones.
    - `multi_step_accuracy`: `state_accuracy` where at least two calls are expected; else it does not apply.

    An answer that is not a list of calls gets 0 everywhere.

    Args:
        example: With `expected` as `{"calls": [...], "state": ..., "final_state": ...}`.
        text: The answer.
    """
    wanted = [Call(call["name"], dict(call["arguments"])) for call in example.expected["calls"]]
    try:
        calls = parse_calls(text.strip())
    except CallSyntaxError:
        calls = []
    is_right = bool(calls or not wanted) and _reaches_state(example, wanted, calls)
    num_equal = sum(_are_equal(one, other) for one, other in zip(wanted, calls, strict=False))
    verdicts = {
        "format": float(_has_format(example, text)),
        "name_accuracy": float([call.name for call in calls] == [call.name for call in wanted]),
        "call_accuracy": num_equal / max(len(wanted), len(calls), 1),
        "schema_validity": float(fits_schemas(example.tools, calls)),
        "state_accuracy": float(is_right),
    }
    if len(wanted) > 1:
        verdicts["multi_step_accuracy"] = float(is_right)
    return verdicts


def _reaches_state(example: TaskExample, wanted: Sequence[Call], calls: Sequence[Call]) -> bool:
    if example.expected.get("final_state") is None:
        return len(wanted) == len(calls) and all(map(_are_equal, wanted, calls))
    if len(calls) > len(wanted) + _MOST_MORE_CALLS:
        return False
    manifest = ToolManifest.from_schemas(example.tools, example.expected["state"])
    try:
        for call in calls:
            manifest.dry_run(call.name, call.arguments)
    except ToolExecutionError:
        return False
    return is_same_json(manifest.state, example.expected["final_state"])


def _are_equal(one: Call, other: Call) -> bool:
    return one.name == other.name and is_same_json(one.arguments, other.arguments)


def is_same_json(one: Any, other: Any) -> bool:
    """Returns whether two JSON values are equal; unlike in Python, `true` is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(is_same_json(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(is_same_json, one, other))
    return bool(one == other)


def _has_format(example: TaskExample, text: str) -> bool:
    try:
        calls = parse_json_calls(text.strip())
    except CallSyntaxError:
        return False
    return bool(calls) and all(find_function(example.tools, call.name) is not None for call in calls)
