"""JSON lines as records."""

from __future__ import annotations

import pathlib

import pytest

from highnoon.data.bad_records import BadRecordError, BadRecords
from highnoon.data.formats.jsonl import read_jsonl
from highnoon.data.records.read_options import ReadOptions

LINES = b'{"a": 1}\n\n{"a": \n[2]\n{"a": "\xff"}\n{"a": 3}'


def test_a_record_knows_its_line(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(b'{"a": 1}\n \n{"b": null}\r\n')
    records = list(read_jsonl(file, ReadOptions(), BadRecords()))
    assert records == [({"a": 1}, f"{file}:1", 1), ({"b": None}, f"{file}:3", 3)]


def test_skipped_lines_are_counted_by_reason(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINES)
    bad = BadRecords(skip=True)
    records = list(read_jsonl(tmp_path / "a.jsonl", ReadOptions(), bad))
    assert [record.values for record in records] == [{"a": 1}, {"a": 3}]
    assert {reason: found["places"] for reason, found in bad.report()["reasons"].items()} == {
        "not JSON": [f"{tmp_path}/a.jsonl:3"],
        "no JSON object": [f"{tmp_path}/a.jsonl:4"],
        "not UTF-8": [f"{tmp_path}/a.jsonl:5"],
    }


def test_the_first_bad_line_is_an_error(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINES)
    with pytest.raises(BadRecordError, match=r"a\.jsonl:3: expected a JSON object; this is not JSON"):
        list(read_jsonl(tmp_path / "a.jsonl", ReadOptions(), BadRecords()))


def test_brackets_without_end_are_an_error(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.jsonl").write_text("[" * 200_000)
    with pytest.raises(BadRecordError, match=r"a\.jsonl:1: "):
        list(read_jsonl(tmp_path / "a.jsonl", ReadOptions(), BadRecords()))


@pytest.mark.parametrize(
    "line",
    [
        '{"text": ' + "[" * 70 + "]" * 70 + "}",
        '{"text": ' + '{"a":' * 70 + "1" + "}" * 71,
        "[" * 100_000,
        '{"a":' * 100_000,
    ],
)
def test_a_record_nested_too_deep_is_left_out(tmp_path: pathlib.Path, line: str) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n' + line + '\n{"a": "[[{{' + "[" * 70 + '"}\n')
    bad = BadRecords(skip=True)
    assert len(list(read_jsonl(tmp_path / "a.jsonl", ReadOptions(), bad))) == 2
    assert bad.report()["reasons"]["nested too deep"]["places"] == [f"{tmp_path}/a.jsonl:2"]
