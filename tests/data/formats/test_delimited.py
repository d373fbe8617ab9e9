"""Comma and tab separated values as records."""

from __future__ import annotations

import pathlib
import time

import pytest

from highnoon.data import DataError, open_source
from highnoon.data.bad_records import BadRecordError, BadRecords
from highnoon.data.formats.delimited import read_csv, read_tsv
from highnoon.data.records.read_options import ReadOptions


def write(folder: pathlib.Path, text: str | bytes) -> pathlib.Path:
    file = folder / "a.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def test_values_in_quotes_hold_what_cuts_others(tmp_path: pathlib.Path) -> None:
    file = write(tmp_path, 'a,b\r\n"x, ""y""\nz",1\r\n\r\né,2\r\n')
    assert list(read_csv(file, ReadOptions(), BadRecords())) == [
        ({"a": 'x, "y"\nz', "b": "1"}, f"{file}:2", 2),
        ({"a": "é", "b": "2"}, f"{file}:5", 5),
    ]


def test_the_nameless_index_that_pandas_writes_is_left_out(tmp_path: pathlib.Path) -> None:
    file = write(tmp_path, ",text,n\n0,one,1\n1,two,2\n")
    records = list(read_csv(file, ReadOptions(), BadRecords()))
    assert [record.values for record in records] == [{"text": "one", "n": "1"}, {"text": "two", "n": "2"}]
    with pytest.raises(BadRecordError, match=r"a\.csv:2: expected 3 values"):
        list(read_csv(write(tmp_path, ",text,n\n0,one\n"), ReadOptions(), BadRecords()))


def test_tabs_cut_a_tsv(tmp_path: pathlib.Path) -> None:
    records = read_tsv(write(tmp_path, "a\tb\n1,2\t3\n"), ReadOptions(), BadRecords())
    assert [record.values for record in records] == [{"a": "1,2", "b": "3"}]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            'a,b\n1,2\n"open,2\n3,4\n',
            r"a\.csv:3: the record cannot be split into values \(unexpected end of data\)",
        ),
        ('a,b\n1,2\n"x"y,2\n', r"a\.csv:3: the record cannot be split into values"),
        ("a,b\n1,2\n1,2,3\n", r"a\.csv:3: expected 2 values, one for each name in the header; received 3"),
        ("a,b\n1,2\n1\n", r"a\.csv:3: expected 2 values"),
        ("a,a\n1,2\n", r"a\.csv:1: the header must name each field once; 'a' is"),
        (",a,\n1,2,3\n", r"a\.csv:1: the header must name each field once; '' is"),
        (",\n1,2\n", r"a\.csv:1: the header must name each field once; '' is"),
        ("a,\n1,2\n", r"a\.csv:1: the header must name each field once; '' is"),
        (b"a,b\n1,2\nx,\xe9\n", r"a\.csv:3: the record is not UTF-8"),
    ],
)
def test_a_bad_record_is_named_by_file_and_line(
    tmp_path: pathlib.Path, text: str | bytes, reason: str
) -> None:
    with pytest.raises(BadRecordError, match=reason):
        list(read_csv(write(tmp_path, text), ReadOptions(), BadRecords()))


def test_reading_continues_after_the_line_of_an_open_quote(tmp_path: pathlib.Path) -> None:
    file = write(tmp_path, b'a,b\n1,2\n"open,2\n3,4\n5\n\xff,6\n"two\nlines",7\n8,"9\n')
    bad = BadRecords(skip=True)
    assert [record.values["b"] for record in read_csv(file, ReadOptions(), bad)] == ["2", "4", "7"]
    assert {reason: found["places"] for reason, found in bad.report()["reasons"].items()} == {
        "bad quotes": [f"{file}:3", f"{file}:9"],
        "other number of values": [f"{file}:5"],
        "not UTF-8": [f"{file}:6"],
    }


def test_a_value_may_be_longer_than_the_library_allows_by_itself(tmp_path: pathlib.Path) -> None:
    [record] = read_csv(write(tmp_path, "a\n" + "x" * 200_000 + "\n"), ReadOptions(), BadRecords())
    assert len(record.values["a"]) == 200_000


def test_an_open_quote_holds_no_more_than_a_record_may_have(tmp_path: pathlib.Path) -> None:
    file = write(tmp_path, 'a\n"open\n' + "more\n" * 100)
    with pytest.raises(BadRecordError, match=r"a\.csv:2: .*longer than max_line_bytes=50"):
        list(read_csv(file, ReadOptions(max_line_bytes=50), BadRecords()))


def test_reading_continues_after_a_line_too_long(tmp_path: pathlib.Path) -> None:
    long = "x" * 90
    file = write(tmp_path, f'a,b\n1,2\n{long}\n3,4\n"open,5\n6,7\n{long}\n8,9\n{long}')
    bad = BadRecords(skip=True)
    records = list(read_csv(file, ReadOptions(max_line_bytes=50), bad))
    assert [(record.values["b"], record.number) for record in records] == [
        ("2", 2),
        ("4", 4),
        ("7", 6),
        ("9", 8),
    ]
    assert {reason: found["places"] for reason, found in bad.report()["reasons"].items()} == {
        "line too long": [f"{file}:{number}" for number in (3, 7, 9)],
        "bad quotes": [f"{file}:5"],
    }
    with pytest.raises(BadRecordError, match=r"a\.csv:3: the line is longer than max_line_bytes=50"):
        list(read_csv(file, ReadOptions(max_line_bytes=50), BadRecords()))


def test_missing_numbers_are_null(tmp_path: pathlib.Path) -> None:
    records = read_csv(write(tmp_path, "a,b\nNaN,nan\nNan,\n"), ReadOptions(), BadRecords())
    assert [record.values for record in records] == [{"a": None, "b": None}, {"a": "Nan", "b": ""}]


@pytest.mark.parametrize("head", [",".join(f"name {number}" for number in range(200_000)), "a," * 200_000])
def test_a_head_of_many_names_is_refused_at_once(tmp_path: pathlib.Path, head: str) -> None:
    started = time.monotonic()
    with pytest.raises(
        BadRecordError, match=r"a\.csv:1: the header must name at most 10,000 fields; received"
    ):
        list(read_csv(write(tmp_path, f"{head}\n"), ReadOptions(), BadRecords()))
    assert time.monotonic() - started < 2


def test_semicolons_and_tabs_of_a_csv_file_are_found_by_its_header(tmp_path: pathlib.Path) -> None:
    for delimiter in (";", "\t"):
        lines = f'id{delimiter}text\n1{delimiter}"one, two{delimiter}\nthree"\n'
        (record,) = read_csv(write(tmp_path, "\ufeff" + lines), ReadOptions(), BadRecords())
        assert record.values == {"id": "1", "text": f"one, two{delimiter}\nthree"}
    (record,) = read_csv(write(tmp_path, "a;b\nx\n"), ReadOptions(text_field="a;b"), BadRecords())
    assert record.values == {"a;b": "x"}
    (record,) = read_csv(write(tmp_path, 'text,"a;b"\nx,y\n'), ReadOptions(), BadRecords())
    assert record.values == {"text": "x", "a;b": "y"}


def test_what_pandas_writes_by_default_is_read_and_the_index_said(tmp_path: pathlib.Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"review": ["good, very", 'say "a"\nb'], "stars": [5, 1]})
    frame.to_csv(tmp_path / "a.csv")
    with pytest.warns(UserWarning, match=r"a\.csv: the first column has no name, as the index that pandas"):
        texts = [d.text for d in open_source(str(tmp_path / "a.csv"), text_field="review").documents()]
    assert texts == ["good, very", 'say "a"\nb']
    with pytest.raises(DataError, match="the fields are review, stars; name the field with .*--text-field"):
        list(open_source(str(tmp_path / "a.csv")).documents())
