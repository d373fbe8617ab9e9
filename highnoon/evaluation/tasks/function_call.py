"""Verdicts on function calls."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from highnoon.evaluation.tasks.call_matching import find_function, find_mismatch, is_accepted
from highnoon.evaluation.tasks.call_parsing import (
    Call,
    CallSyntaxError,
    parse_calls,
    parse_json,
    parse_json_calls,
)
from highnoon.evaluation.tasks.call_schemas import fits_schemas

if TYPE_CHECKING:
    from highnoon.data.tasks.task_example import TaskExample

Accepted = Sequence[Mapping[str, Mapping[str, Sequence[Any]]]]


def score_function_call(example: TaskExample, text: str) -> dict[str, float]:
    """Returns the verdicts on an answer, each in [0, 1].

    - `format`: the entire answer is a JSON list of objects with `name` and `arguments`, and each names a
      function of the prompt.
    - `json_validity`: the entire answer is JSON.
    - `name_accuracy`: the names are those of the expected calls, in any order.
    - `argument_name_f1`: `2 P R / (P + R)` over pairs of function and argument; P is the fraction of the
      given pairs that are expected, R the fraction of the pairs that must be given that are.
    - `argument_accuracy`: accepted values / max(arguments that must be given, arguments given), where each
      expected call is compared with the call of its name that has most accepted values.
    - `ast_accuracy`: the calls are accepted by all rules of `find_mismatch`.
    - `schema_validity`: the arguments of all calls fit the schemas of their functions.

    An answer may also be in Python's syntax, except for `format` and `json_validity`. An answer that is in
    neither gets 0 everywhere.

    Args:
        example: With `tools`, and `expected` as a list of `{name: {argument: [accepted values]}}`.
        text: The answer.
    """
    names = ("name_accuracy", "argument_name_f1", "argument_accuracy", "ast_accuracy", "schema_validity")
    verdicts = {"format": _has_format(example, text), "json_validity": _is_json(text)}
    try:
        calls = parse_calls(text.strip())
    except CallSyntaxError:
        return {**{name: float(found) for name, found in verdicts.items()}, **dict.fromkeys(names, 0.0)}
    expected: Accepted = example.expected
    found = (
        collections.Counter(call.name for call in calls)
        == collections.Counter(name for accepted in expected for name in accepted),
        argument_name_f1(expected, calls),
        argument_accuracy(example.tools, expected, calls),
        find_mismatch(example.tools, expected, calls) is None,
        fits_schemas(example.tools, calls) or not (calls or expected),
    )
    return {
        **{name: float(verdict) for name, verdict in verdicts.items()},
        **{name: float(verdict) for name, verdict in zip(names, found, strict=True)},
    }


def argument_name_f1(expected: Accepted, calls: Sequence[Call]) -> float:
    """Returns the F1 of pairs of function and argument; 1 if none is expected and none given."""
    given = collections.Counter((call.name, name) for call in calls for name in call.arguments)
    known, needed = collections.Counter[Any](), collections.Counter[Any]()
    for accepted in expected:
        for function, answers in accepted.items():
            known.update((function, name) for name in answers)
            needed.update((function, name) for name, values in answers.items() if "" not in values)
    if not given and not needed:
        return 1.0
    precision = (given & known).total() / given.total() if given else 0.0
    recall = (given & needed).total() / needed.total() if needed else 1.0
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def argument_accuracy(tools: Sequence[Mapping[str, Any]], expected: Accepted, calls: Sequence[Call]) -> float:
    """Returns the fraction of arguments with an accepted value; 1 if none is expected and none given."""
    left = list(calls)
    num_accepted = num_needed = 0
    for accepted in expected:
        ((name, answers),) = accepted.items()
        same_name = [call for call in left if call.name == name]
        best = max(same_name, key=lambda call: _num_accepted(tools, call, answers), default=None)
        needed = {argument for argument, values in answers.items() if "" not in values}
        if best is not None:
            left.remove(best)
            num_accepted += _num_accepted(tools, best, answers)
            needed |= set(best.arguments)
        num_needed += len(needed)
    num_needed += sum(len(call.arguments) for call in left)
    return num_accepted / num_needed if num_needed else float(len(calls) == len(expected))


def _num_accepted(
    tools: Sequence[Mapping[str, Any]], call: Call, answers: Mapping[str, Sequence[Any]]
) -> int:
    function = find_function(tools, call.name) or {}
    properties = (function.get("parameters") or {}).get("properties") or {}
    return sum(
        name in properties and name in answers and is_accepted(properties[name], value, answers[name])
        for name, value in call.arguments.items()
    )


def _has_format(example: TaskExample, text: str) -> bool:
    try:
        calls = parse_json_calls(text.strip())
    except CallSyntaxError:
        return False
    is_named = all(find_function(example.tools, call.name) is not None for call in calls)
    return is_named and bool(calls or not example.expected)


def _is_json(text: str) -> bool:
    try:
        parse_json(text)
    except CallSyntaxError:
        return False
    return True
