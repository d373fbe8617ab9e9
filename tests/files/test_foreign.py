"""Foreign JSON is a value of the expected type or a one-line error."""

from __future__ import annotations

import pytest

from highnoon.files.foreign import ForeignDataError, parse_json, read_json, require_depth


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nests lists or objects more than 64 deep"),
        ("[" * 100 + "]" * 100, "nests lists or objects more than 64 deep"),
        ('{"a":' * 100 + "1" + "}" * 100, "nests lists or objects more than 64 deep"),
        ("[1]", "expected an object; received a list"),
        ("null", "expected an object; received null"),
        ("{", "is not valid JSON"),
        (b"\xff\xfe{", "is not valid JSON"),
        ("1" * 10_000, "is not valid JSON"),
    ],
)
def test_what_does_not_fit_is_a_one_line_error(text, message):
    with pytest.raises(ForeignDataError, match=message) as failure:
        parse_json(text, "here")
    assert str(failure.value).startswith("here") and "\n" not in str(failure.value)


def test_values_that_fit_are_returned():
    assert parse_json('{"a": [[1], [2]]}', "here") == {"a": [[1], [2]]}
    assert parse_json(b"[1, null]", "here", list) == [1, None]
    assert parse_json("[" + "[]," * 500 + "[]]", "here", (list, dict)) == [[]] * 501


def test_depth_is_counted_in_containers():
    require_depth([[1]], "here", max_depth=2)
    with pytest.raises(ForeignDataError, match="more than 1 deep"):
        require_depth([[1]], "here", max_depth=1)


def test_a_file_that_is_too_long_is_not_read(tmp_path):
    path = tmp_path / "long.json"
    path.write_text('{"a": "' + "x" * 100 + '"}')
    with pytest.raises(ForeignDataError, match="more than 50 bytes"):
        read_json(path, max_bytes=50)
    assert read_json(path) == {"a": "x" * 100}
