"""Foreign YAML is a value of JSON's types or a one-line error, in bounded time."""

from __future__ import annotations

import math
import os
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from highnoon.files.foreign import ForeignDataError, parse_yaml, read_json, read_text, read_yaml
from highnoon.files.shown import shown

BILLION_LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
)
LADDER = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 300))
MERGES = "a0: &a0 {k: 1}\n" + "".join(
    f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}\n" for i in range(1, 10)
)


def name_of(value: Any) -> str:
    return shown(value, 60)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("rate: 1e-3", {"rate": 0.001}),
        ("day: 2020-01-01", {"day": "2020-01-01"}),
        ("n: 1_000", {"n": 1000}),
        ("t: 1:30", {"t": "1:30"}),
        ("n: 010", {"n": 10}),
        ("n: 0x1f", {"n": 31}),
        ("n: 0o17", {"n": 15}),
        ("n: 0b11", {"n": "0b11"}),
        ("x: .inf", {"x": math.inf}),
        ("x: ~", {"x": None}),
        ("x: yes", {"x": True}),
        ('x: "010"', {"x": "010"}),
        ("x: !!str 3", {"x": "3"}),
        ("", None),
        ("[1, [2]]", [1, [2]]),
        ('{"a": {"b": [1.5, "c\\u00e9", false]}}', {"a": {"b": [1.5, "cé", False]}}),
        ("a: &d {p: 1, q: 2}\nb: {<<: *d, q: 3}", {"a": {"p": 1, "q": 2}, "b": {"p": 1, "q": 3}}),
        (b"\xef\xbb\xbfa: 1", {"a": 1}),
    ],
    ids=name_of,
)
def test_values_are_those_of_json(text, value):
    assert parse_yaml(text, "here", expected=object) == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "nested more than 64 deep"),
        ("- " * 5_000, "nested more than 64 deep"),
        ("? " * 5_000, "nested more than 64 deep"),
        ("{a: " * 5_000, "nested more than 64 deep"),
        (LADDER, "nested more than 64 deep"),
        (BILLION_LAUGHS, "more than 100,000 values"),
        (MERGES, "more than 100,000 values"),
        ("a: &x [*x]", "holds itself"),
        ("a: &x {<<: *x}", "holds itself"),
        ("a: *x", "undefined alias"),
        ("a: &x 1\nb: &x 2", "line 2: the anchor 'x' is given twice"),
        ("a: 1\na: 2", "line 2: `a` is given twice"),
        ("[a]: b", "the key \\['a'\\] is not a string"),
        ("{a: 1}: b", "is not a string"),
        (".nan: 1", "the key nan is not a string"),
        ("2020: 1", "the key 2020 is not a string; put it in quotes"),
        ("no: 1", "the key False is not a string"),
        ("~: 1", "the key None is not a string"),
        ("a: !!python/object/apply:os.system [ls]", "constructor for the tag"),
        ("a: !!binary aGk=", "constructor for the tag"),
        ("a: !!set {b}", "constructor for the tag"),
        ("a: !!timestamp 2020-01-01", "constructor for the tag"),
        ("a: !!int x", "expected an integer"),
        ("a: !!float x", "expected a number"),
        ("a: !!bool x", "expected a boolean"),
        ("a: !!int ''", "an integer"),
        ("a: " + "9" * 5_000, "an integer of 5,000 digits is too long"),
        ('a: "\\ud800"', "a lone surrogate"),
        ('a: "\\UFFFFFFFF"', "is not valid YAML"),
        ("%YAML " + "9" * 5_000 + ".1\n---\n", "is not valid YAML"),
        ("a: \0", "is not valid YAML"),
        ("a\n---\nb", "is not valid YAML"),
        ("a: [", "is not valid YAML"),
        ("a: \x1b[31m", "is not valid YAML"),
        (b"\xff\xfea\0:\0", "is not UTF-8"),
        (b"\xffa", "is not UTF-8"),
        ("a: " + "x" * 2**21, "more than 1048576 bytes"),
        ("- 1", "expected an object; received a list"),
        ("", "expected an object; received null"),
    ],
    ids=name_of,
)
def test_what_does_not_fit_is_a_one_line_error_in_bounded_time(text, words):
    begun_at = time.monotonic()
    with pytest.raises(ForeignDataError, match=words) as failure:
        parse_yaml(text, "here")
    message = str(failure.value)
    assert message.startswith("here") and "\n" not in message and len(message) < 400
    assert time.monotonic() - begun_at < 10


_PIECES = st.sampled_from(
    [
        "a",
        "b: ",
        "- ",
        "? ",
        ": ",
        "[",
        "]",
        "{",
        "}",
        ", ",
        "\n",
        "\n  ",
        "&x ",
        "*x",
        "<<: ",
        "!!int ",
        "!!python/x ",
        "!<",
        ">",
        "|\n",
        ">\n ",
        '"',
        "'",
        "\\",
        "\\u",
        "#",
        "%YAML 1.1\n",
        "---\n",
        "...\n",
        "1_0",
        "1:30",
        "0x",
        "~",
        ".nan",
        "1e9",
        "2020-01-01",
        "9" * 4301,
        "=",
        "\t",
        "\r",
        "\x85",
        "\u2028",
        "\ufeff",
        "\0",
        "\ud800",
        "é",
        "@",
        "`",
    ]
)


@settings(
    max_examples=500, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(st.lists(st.one_of(_PIECES, st.text(max_size=3)), max_size=30).map("".join))
def test_any_text_is_a_value_of_json_or_a_one_line_error(text):
    begun_at = time.monotonic()
    try:
        value = parse_yaml(text, "here", expected=object)
    except ForeignDataError as error:
        str(error).encode()
        assert "\n" not in str(error) and len(str(error)) < 400
    else:
        require_json_types(value)
    assert time.monotonic() - begun_at < 2


def require_json_types(value: Any) -> None:
    if isinstance(value, list):
        for one in value:
            require_json_types(one)
    elif isinstance(value, dict):
        assert all(type(key) is str for key in value)
        require_json_types(list(value.values()))
    else:
        assert value is None or type(value) in (bool, int, float, str)


@pytest.mark.parametrize("read", [read_yaml, read_json, read_text])
def test_a_folder_a_pipe_and_a_device_are_refused_without_waiting(read, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    kinds = {tmp_path: "a folder", tmp_path / "pipe": "a device or a pipe", "/dev/zero": "a device or a pipe"}
    for path, what in kinds.items():
        with pytest.raises(ForeignDataError, match=f"is {what}.*expected a file"):
            read(path)


def test_a_yaml_file_that_is_too_long_is_not_read(tmp_path):
    path = tmp_path / "long.yaml"
    path.write_text("a: " + "x" * 100)
    with pytest.raises(ForeignDataError, match="more than 50 bytes"):
        read_yaml(path, max_bytes=50)
    assert read_yaml(path) == {"a": "x" * 100}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a\nb", r"'a\nb'"),
        ([1, "two", None], "[1, 'two', None]"),
        ({"a": [1.5]}, "{'a': [1.5]}"),
        (10**5000, "an integer of 16,610 bits"),
        ([10**5000], "[an integer of 16,610 bits]"),
        (10**20, str(10**20)),
        ("\x1b[31m", r"'\x1b[31m'"),
        ("\ud800", r"'\ud800'"),
        ("\u202e", r"'\u202e'"),
        ((1,), "(1)"),
        ([[[[[]]]]], "[[[[...]]]]"),
        (math.nan, "nan"),
        (b"\xff", r"b'\xff'"),
    ],
    ids=name_of,
)
def test_a_value_is_quoted_in_one_line_that_can_be_printed(value, text):
    assert shown(value) == text
    shown(value).encode()


def test_a_long_value_is_shortened_in_bounded_time():
    begun_at = time.monotonic()
    mapping = {str(number): number for number in range(10**5)}
    for value in ("x" * 10**7, list(range(10**6)), mapping, [["y" * 10**6] * 9] * 9):
        assert len(shown(value)) <= 200 and "\n" not in shown(value)
    assert time.monotonic() - begun_at < 2
