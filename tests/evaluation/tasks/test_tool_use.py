"""The verdicts on traces of tool calls."""

from __future__ import annotations

import json
import time

import pytest

from highnoon.data.tasks import open_task
from highnoon.data.tasks.task_example import TaskExample
from highnoon.evaluation.tasks.tool_use import is_same_json, score_tool_use


def parameters(**types: str) -> dict:
    properties = {name: {"type": kind} for name, kind in types.items()}
    return {
        "type": "object",
        "properties": properties,
        "required": list(types),
        "additionalProperties": False,
    }


TOOLS = [
    {
        "name": "receive",
        "parameters": parameters(item="string", count="integer"),
        "effects": [{"op": "add", "path": ["stock", "$item"], "value": "$count"}],
    },
    {
        "name": "drop",
        "parameters": parameters(item="string"),
        "effects": [{"op": "remove", "path": ["stock", "$item"]}],
    },
]
CALLS = [
    {"name": "receive", "arguments": {"item": "cups", "count": 3}},
    {"name": "drop", "arguments": {"item": "pans"}},
]
EXPECTED = {"calls": CALLS, "state": {"stock": {"pans": 1}}, "final_state": {"stock": {"cups": 3}}}
EXAMPLE = TaskExample("tool_use", "0", [], json.dumps(CALLS), EXPECTED, TOOLS)


def test_the_reference_answer_has_all_verdicts():
    assert set(score_tool_use(EXAMPLE, EXAMPLE.answer).values()) == {1.0}


def test_other_calls_with_the_same_final_state_are_right():
    one, two = ({"name": "receive", "arguments": {"item": "cups", "count": n}} for n in (1, 2))
    found = score_tool_use(EXAMPLE, json.dumps([one, two, CALLS[1]]))
    assert found["state_accuracy"] == found["multi_step_accuracy"] == 1.0
    assert (found["name_accuracy"], found["call_accuracy"]) == (0.0, 0.0)


@pytest.mark.parametrize(
    "calls",
    [
        CALLS[:1],
        [],
        [CALLS[0], {"name": "drop", "arguments": {"item": "pans", "now": True}}],
        [CALLS[0], {"name": "throw", "arguments": {"item": "pans"}}],
        [{"name": "receive", "arguments": {"item": "cups", "count": "3"}}, CALLS[1]],
    ],
)
def test_another_final_state_or_a_wrong_call_is_not_right(calls):
    assert score_tool_use(EXAMPLE, json.dumps(calls))["state_accuracy"] == 0.0


def test_without_a_state_the_calls_must_be_equal_in_order():
    plain = TaskExample("tool_use", "0", [], "", {"calls": CALLS, "state": None, "final_state": None}, TOOLS)
    assert score_tool_use(plain, json.dumps(CALLS))["state_accuracy"] == 1.0
    swapped = score_tool_use(plain, json.dumps(CALLS[::-1]))
    assert (swapped["state_accuracy"], swapped["call_accuracy"], swapped["format"]) == (0.0, 0.0, 1.0)


def test_several_steps_apply_where_several_are_expected():
    one = TaskExample(
        "tool_use", "0", [], "", {"calls": CALLS[:1], "state": None, "final_state": None}, TOOLS
    )
    assert "multi_step_accuracy" not in score_tool_use(one, json.dumps(CALLS[:1]))


def test_true_is_not_one():
    assert not is_same_json({"a": [1]}, {"a": [True]}) and is_same_json({"a": (1.0,)}, {"a": [1]})


def test_many_calls_take_less_than_a_second():
    began = time.process_time()
    assert score_tool_use(EXAMPLE, json.dumps(CALLS * 500))["state_accuracy"] == 0.0
    assert time.process_time() - began < 1.0


@pytest.mark.parametrize(
    "name", ["text_completion", "function_call", "bash_command", "tool_use", "chain_of_thought"]
)
def test_reference_answers_of_the_generators_have_full_marks(name):
    from highnoon.evaluation.tasks import sample_task, score_answers, task_metrics

    sample = sample_task(open_task(name, synthetic=True, count=200), limit=20)
    answers = [example.answer for example in sample.examples]
    scores = score_answers(sample.scorer(), sample.examples, answers)
    main = task_metrics(name).main
    assert scores[main].value >= (0.9 if name == "text_completion" else 1.0), scores
    assert scores.get("format", scores[main]).value >= 0.9
