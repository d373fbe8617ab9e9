"""JSON files as records."""

from __future__ import annotations

import gzip
import json
import pathlib
import tracemalloc
from typing import Any

import pytest

from highnoon.data import DataError, Files
from highnoon.data.bad_records import BadRecordError, BadRecords
from highnoon.data.formats.json_file import read_json_file
from highnoon.data.records.read_options import ReadOptions

TURNS = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]


def records_of(
    folder: pathlib.Path, content: Any, bad: BadRecords | None = None, **options: Any
) -> list[Any]:
    file = folder / "a.json"
    text = content if isinstance(content, (str, bytes)) else json.dumps(content)
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [record.values for record in read_json_file(file, ReadOptions(**options), bad or BadRecords())]


@pytest.mark.parametrize(
    ("content", "records"),
    [
        ([{"text": "a"}, {"text": "b"}], [{"text": "a"}, {"text": "b"}]),
        ([], []),
        ("", []),
        (" \n", []),
        ({"text": "a"}, [{"text": "a"}]),
        ({"messages": TURNS}, [{"messages": TURNS}]),
        ({"version": 1, "data": [{"text": "a"}, {"text": "b"}]}, [{"text": "a"}, {"text": "b"}]),
        ({"train": [{"text": "a"}], "test": [{"text": "b"}]}, [{"text": "a"}]),
        ({"text": ["a", "b"], "id": [1, 2]}, [{"text": "a", "id": 1}, {"text": "b", "id": 2}]),
        ({"messages": [TURNS, TURNS]}, [{"messages": TURNS}] * 2),
        ({"prompt": "Q", "tags": []}, [{"prompt": "Q", "tags": []}]),
        ('{"text": "a"}\n{"text": "b"}\n', [{"text": "a"}, {"text": "b"}]),
        ('\ufeff[\n {"text": "\u00e9"}\n]\n', [{"text": "é"}]),
    ],
)
def test_lists_objects_and_columns_are_records(
    tmp_path: pathlib.Path, content: Any, records: list[Any]
) -> None:
    assert records_of(tmp_path, content) == records


@pytest.mark.parametrize("indent", [None, 2])
def test_a_list_is_read_across_any_cut(tmp_path: pathlib.Path, indent: int | None) -> None:
    records = [
        {"text": 'é\\"' * (number % 700), "n": -1.5e-3 * number, "flags": [True, None]}
        for number in range(900)
    ]
    text = json.dumps(records, indent=indent, ensure_ascii=False)
    assert len(text) > 500_000
    assert records_of(tmp_path, text) == records


def test_a_file_is_a_source_of_documents_and_packed_too(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.json.gz").write_bytes(
        gzip.compress(json.dumps([{"text": "one", "id": 7}, {"text": "two"}]).encode())
    )
    documents = list(Files(tmp_path / "a.json.gz").documents())
    assert [(document.text, document.id) for document in documents] == [("one", "7"), ("two", "2")]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[1]", r"a\.json record 1: expected a JSON object; received int"),
        ('[{"text": "a"}, "b"]', r"a\.json record 2: expected a JSON object; received str"),
        ("5", "expected a list of records or an object"),
        ('[{"a": 1} {"b": 2}]', "expected ',' or ']' after a record"),
        ('[{"a": 1}', "expected ',' or ']' after a record"),
        ('[{"a": 1},]', "not valid JSON"),
        ("[", "not valid JSON"),
        ('[{"a": 1}] x', "expected the end of the file"),
        ('[{"a": \n}]', "not valid JSON"),
        ("{'a': 1}", "not valid JSON"),
        (b'[{"a": "\xff"}]', "is not UTF-8"),
        ("[" * 100_000, "more than 64 deep"),
        ('[{"a": ' + "[" * 80 + "]" * 80 + "}]", "record 1: nests lists or objects more than 64 deep"),
        ('[{"text": "' + "x" * 5000 + '"}]', "a record is longer than max_line_bytes=1,000"),
    ],
)
def test_a_bad_file_is_a_one_line_error(tmp_path: pathlib.Path, content: str | bytes, reason: str) -> None:
    with pytest.raises(BadRecordError, match=reason) as error:
        records_of(tmp_path, content, max_line_bytes=1000 if "longer" in reason else 1 << 20)
    assert "\n" not in str(error.value)


def test_an_item_that_is_no_object_is_skipped_and_counted(tmp_path: pathlib.Path) -> None:
    bad = BadRecords(skip=True)
    assert records_of(tmp_path, [1, {"text": "a"}, [], None], bad) == [{"text": "a"}]
    assert bad.report()["reasons"]["no JSON object"]["count"] == 3


def test_a_long_list_is_not_held(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "a.json"
    with file.open("w") as stream:
        stream.write("[" + ",".join(json.dumps({"text": "word " * 200}) for _ in range(20_000)) + "]")
    tracemalloc.start()
    count = sum(1 for _ in read_json_file(file, ReadOptions(), BadRecords()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 20_000 and file.stat().st_size > 20e6
    assert peak < 4 << 20


def test_an_object_of_no_kind_is_named(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.json").write_text('{"name": "x"}')
    with pytest.raises(
        DataError, match=r"a\.json record 1: expected a record with `text`.* the fields are name"
    ):
        list(Files(tmp_path / "a.json").documents())
