"""The verdicts on function calls."""

from __future__ import annotations

import json

import pytest

from highnoon.data.tasks.task_example import TaskExample
from highnoon.evaluation.tasks.call_parsing import Call
from highnoon.evaluation.tasks.call_schemas import fits_schemas
from highnoon.evaluation.tasks.function_call import score_function_call

TOOLS = [
    {
        "name": "trip",
        "parameters": {
            "type": "object",
            "properties": {"to": {"type": "string"}, "days": {"type": "integer"}, "km": {"type": "number"}},
            "required": ["to", "days"],
        },
    }
]
EXPECTED = [{"trip": {"to": ["Bonn"], "days": [2], "km": [5.0, ""]}}, {"trip": {"to": ["Ulm"], "days": [1]}}]
GOLD = [
    {"name": "trip", "arguments": {"to": "Bonn", "days": 2}},
    {"name": "trip", "arguments": {"to": "Ulm", "days": 1}},
]
EXAMPLE = TaskExample("function_call", "0", [], json.dumps(GOLD), EXPECTED, TOOLS)


def test_the_reference_answer_has_all_verdicts():
    assert set(score_function_call(EXAMPLE, EXAMPLE.answer).values()) == {1.0}


def test_an_answer_that_is_not_a_list_of_calls_has_none():
    assert set(score_function_call(EXAMPLE, "trip to Bonn").values()) == {0.0}
    found = score_function_call(EXAMPLE, '{"to": "Bonn"}')
    assert found.pop("json_validity") == 1.0 and set(found.values()) == {0.0}


def test_partly_right_calls_have_fractions():
    calls = [GOLD[1], {"name": "trip", "arguments": {"to": "Bonn", "day": 2}}]
    found = score_function_call(EXAMPLE, json.dumps(calls))
    assert found["format"] == found["name_accuracy"] == 1.0
    assert found["argument_accuracy"] == pytest.approx(3 / 5)  # of to, days, to, days and the unknown day
    assert found["argument_name_f1"] == pytest.approx(3 / 4)
    assert found["ast_accuracy"] == found["schema_validity"] == 0.0


def test_format_needs_the_template_and_a_function_of_the_prompt():
    python = "[trip(to='Bonn', days=2), trip(to='Ulm', days=1)]"
    found = score_function_call(EXAMPLE, python)
    assert (found["format"], found["ast_accuracy"]) == (0.0, 1.0)
    other = json.dumps([{**call, "name": "fly"} for call in GOLD])
    assert score_function_call(EXAMPLE, other)["format"] == 0.0
    assert score_function_call(EXAMPLE, f"Sure: {EXAMPLE.answer}")["format"] == 0.0
    assert score_function_call(EXAMPLE, "[]")["format"] == 0.0


def test_schemas_check_types_required_and_unknown_arguments():
    assert fits_schemas(TOOLS, [Call("trip", {"to": "Bonn", "days": 2, "km": 3})])
    for arguments in ({"to": "Bonn"}, {"to": "Bonn", "days": "2"}, {"to": "Bonn", "days": 2, "by": "car"}):
        assert not fits_schemas(TOOLS, [Call("trip", arguments)])
    assert not fits_schemas(TOOLS, [Call("fly", {})])
    assert not fits_schemas(TOOLS, [])


def test_wrong_parts_of_a_schema_are_not_checked():
    wrong = {
        "type": "text",
        "required": "a",
        "minimum": "0",
        "items": 3,
        "properties": {"a": {"type": [{}], "required": [[]]}},
    }
    assert fits_schemas([{"name": "f", "parameters": wrong}], [Call("f", {"a": 1})])
    either = {"properties": {"a": {"type": ["integer", "null"]}, "b": {"const": None}}}
    assert fits_schemas([{"name": "f", "parameters": either}], [Call("f", {"a": None, "b": None})])
    assert not fits_schemas([{"name": "f", "parameters": either}], [Call("f", {"a": "1"})])


def test_schemas_of_data_are_not_followed_to_other_documents():
    schema = {"type": "object", "properties": {"a": {"$ref": "http://localhost:9/x", "pattern": "(a+)+$"}}}
    assert fits_schemas([{"name": "f", "parameters": schema}], [Call("f", {"a": "a" * 40 + "!"})])
