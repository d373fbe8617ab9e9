"""Calls are parsed from JSON and from Python's syntax, in bounded time, and nothing is run."""

from __future__ import annotations

import time

import pytest

from highnoon.evaluation.tasks.call_parsing import (
    MAX_CHARACTERS,
    Call,
    CallSyntaxError,
    parse_calls,
    parse_json_calls,
    parse_python_calls,
)


def test_both_syntaxes_give_the_same_calls():
    written = '[{"name": "math.root", "arguments": {"x": -2.5, "of": ["a", true, null]}}]'
    assert parse_json_calls(written) == parse_python_calls("[math.root(x=-2.5, of=['a', True, None])]")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("f(a=(1, 2))", (1, 2)),
        ("f(a=3 * (2 + 4) / 2)", 9.0),
        ("f(a=name)", "name"),
        ("f(a=g(1))", "g(1)"),
        ("f(a=g(b=1))", {"g": {"b": 1}}),
        ("f(a={'b': [1]})", {"b": [1]}),
    ],
)
def test_values_of_pythons_syntax(text, value):
    assert parse_calls(text) == [Call("f", {"a": value})]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Sure, here it is: [f(a=1)]",
        "[f(1)]",
        "[f(**a)]",
        "[1]",
        "f(a=2 ** 9999999)",
        "f(a=lambda: 1)",
        "f(a=__import__('os').system('true') or 1)",
        '{"name": "f", "arguments": {}}',
        '[{"name": "f"}]',
        '[{"name": "f", "arguments": {}, "id": 1}]',
        '[{"name": "f", "arguments": "{}"}]',
        '[{"name": "f", "arguments": {"a": NaN}}]',
        '[{"name": "f", "arguments": {}}',
    ],
)
def test_other_texts_are_no_calls(text):
    with pytest.raises(CallSyntaxError) as error:
        parse_calls(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 50_000,
        '[{"a":' * 9_000,
        "f(a=" + "-" * 60_000 + "1)",
        "f(a=" + "1+" * 30_000 + "1)",
        "f" + ".a" * 30_000 + "()",
        "f(a=" + "(" * 31 + "1",
        "f(a=" + "{1:" * 31,
        "f(a=" + "9" * 60_000 + ")",
        "[f(a=1)]" + " " * MAX_CHARACTERS,
        "[" + "f(a=1)," * 1_000_000,
    ],
    ids=lambda text: text[:8],
)
def test_hostile_texts_are_refused_within_a_second(text):
    began = time.process_time()
    with pytest.raises(CallSyntaxError):
        parse_calls(text)
    assert time.process_time() - began < 1.0
