"""Calls are accepted by BFCL's rules: on rows of our own, and on verdicts of BFCL's checker."""

from __future__ import annotations

import collections
import importlib
import json
import os
import pathlib
import sys

import pytest

from highnoon.evaluation.tasks.call_matching import find_mismatch, is_accepted
from highnoon.evaluation.tasks.call_parsing import CallSyntaxError, parse_calls
from highnoon.evaluation.tasks.call_schemas import json_schema

ROOT = pathlib.Path(__file__).parents[3]
VERDICTS = pathlib.Path(__file__).parent / "bfcl_verdicts.json"


def script(name: str):
    """Returns a module of the folder scripts/, where scripts import each other by their names."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(ROOT / "scripts"))


bfcl_verdicts = script("bfcl_verdicts")
SCHEMA = {
    "type": "dict",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "scale": {"type": "float"},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["city", "days"],
}
TOOLS = [{"name": "weather.get", "parameters": SCHEMA}, {"name": "noop", "parameters": {"properties": {}}}]
ONE = {
    "weather.get": {"city": ["New York", "NYC"], "days": [3], "scale": [1.0, ""], "tags": [["a", "b"], ""]}
}
TWO = {"weather.get": {"city": ["Bonn"], "days": [1], "scale": [""], "tags": [""]}}


def mismatch(text: str, *expected) -> str | None:
    return find_mismatch(TOOLS, expected or [ONE], parse_calls(text))


@pytest.mark.parametrize(
    "text",
    [
        "[weather.get(city='new-york', days=3)]",
        "[weather.get(days=3, city='N.Y.C', scale=1, tags=['A', 'b '])]",
        "weather.get(city='NYC', days=3)",
    ],
)
def test_accepted_calls(text):
    assert mismatch(text) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[weather.get(city='NYC', days=3.0)]", "'days' is none"),
        ("[weather.get(city='NYC', days=True)]", "'days' is none"),
        ("[weather.get(city='NYC', days='3')]", "'days' is none"),
        ("[weather.get(city='York', days=3)]", "'city' is none"),
        ("[weather.get(city='NYC', days=3, tags=['b', 'a'])]", "'tags' is none"),
        ("[weather.get(city='NYC', days=3, tags=('a', 'b'))]", "'tags' is none"),
        ("[weather.get(city='NYC', days=3, scale='')]", "'scale' is none"),
        ("[weather.get(city='NYC')]", "required argument 'days'"),
        ("[weather.get(city='NYC', days=3, unit='C')]", "no argument 'unit'"),
        ("[weather(city='NYC', days=3)]", "a call of 'weather.get'"),
        ("[noop(), weather.get(city='NYC', days=3)]", "expected 1 calls"),
    ],
)
def test_other_calls_have_a_reason(text, reason):
    assert reason in mismatch(text)


def test_parallel_calls_have_no_order_and_each_answer_counts_once():
    one, two = "weather.get(city='NYC', days=3)", "weather.get(city='Bonn', days=1)"
    assert mismatch(f"[{two}, {one}]", ONE, TWO) is None
    assert mismatch(f"[{one}, {one}]", ONE, TWO) is not None


def test_an_argument_that_is_not_optional_must_be_given():
    strict = {"weather.get": {"city": ["NYC"], "days": [3], "scale": [2.0]}}
    assert "'scale' is missing" in mismatch("[weather.get(city='NYC', days=3)]", strict)


def test_objects_are_compared_key_by_key():
    schema, accepted = {"type": "dict"}, [{"low": [1], "high": [5, ""]}]
    assert is_accepted(schema, {"low": 1}, accepted) and is_accepted(schema, {"high": 5, "low": 1}, accepted)
    assert not is_accepted(schema, {"low": 1, "mid": 2}, accepted)
    assert not is_accepted(schema, {"high": 5}, accepted)
    rows = {"type": "array", "items": {"type": "dict"}}
    assert is_accepted(rows, [{"low": 1}, {"low": 2}], [[{"low": [1]}, {"low": [2]}]])
    assert not is_accepted(rows, [{"low": 2}, {"low": 1}], [[{"low": [1]}, {"low": [2]}]])


def test_a_variable_and_a_tuple_are_accepted_where_bfcl_accepts_them():
    assert is_accepted({"type": "integer"}, "x", ["x"]) and not is_accepted({"type": "integer"}, "3", [3])
    pair = {"type": "tuple", "items": {"type": "float"}}
    assert is_accepted(pair, (1.0, 2.0), [[1.0, 2.0]])
    assert not is_accepted({**pair, "type": "array"}, (1.0, 2.0), [[1.0, 2.0]])
    assert not is_accepted(pair, [1, 2], [[1.0, 2.0]])


def test_a_number_that_no_float_holds_is_not_accepted():
    assert not is_accepted({"type": "float"}, 10**400, [1.0])


def test_the_fixture_has_many_kinds_of_mutations_and_both_verdicts():
    cases = json.loads(VERDICTS.read_text())["cases"]
    verdicts = collections.Counter(verdict for _, _, _, verdict, _ in cases)
    assert len(cases) == 500 and min(verdicts[True], verdicts[False]) >= 200
    assert len({name for _, name, _, _, _ in cases}) >= 20


@pytest.mark.parametrize("has_json_types", [False, True])
def test_verdicts_equal_those_of_bfcls_checker(has_json_types):
    data = os.environ.get("HIGHNOON_DATA")
    if data is None or not (pathlib.Path(data) / bfcl_verdicts.FOLDER).is_dir():
        pytest.skip("the rows of BFCL are not here: HIGHNOON_DATA names no folder with tasks/function_call")
    rows = bfcl_verdicts.read_rows(pathlib.Path(data))
    wrong = []
    for row_id, name, seed, verdict, digest in json.loads(VERDICTS.read_text())["cases"]:
        row = rows[row_id]
        text = bfcl_verdicts.answer_of(row, name, seed)
        assert bfcl_verdicts.answer_hash(text) == digest
        tools = row["functions"]
        if has_json_types:
            tools = [{**tool, "parameters": json_schema(tool["parameters"])} for tool in tools]
        try:
            reason = find_mismatch(tools, row["expected"], parse_calls(text))
        except CallSyntaxError as error:
            reason = str(error)
        if (reason is None) != verdict:
            wrong.append((row_id, name, verdict, reason))
    assert not wrong
