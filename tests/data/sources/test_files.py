"""Text and JSON-lines files as a source."""

from __future__ import annotations

import gzip
import json
import pathlib
from typing import Any

import pytest

from highnoon.data import DataError, Document, Files
from highnoon.data.records.read_options import ReadOptions


def jsonl(*records: object) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def test_jsonl_records_keep_their_source_and_id(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(jsonl({"text": "one", "source": "book", "id": 7}) + "\n" + jsonl({"text": "two", "x": 1}))
    assert list(Files(file, domain="d").documents()) == [
        Document("one", "book", "7", "d"),
        Document("two", "a.jsonl", "3", "d"),
    ]


def test_text_documents_are_numbered_within_their_file(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.txt").write_text("x\ny\n")
    assert list(Files(tmp_path / "a.txt", split="line").documents()) == [
        Document("x", "a.txt", "0"),
        Document("y", "a.txt", "1"),
    ]


def test_globs_are_read_in_the_order_of_names(tmp_path: pathlib.Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("b.txt", "a.txt", "deep/c.txt", "d.md"):
        (tmp_path / name).write_text(name)
    assert [d.text for d in Files(f"{tmp_path}/*.txt").documents()] == ["a.txt", "b.txt"]
    assert [d.text for d in Files(f"{tmp_path}/**/*.txt").documents()] == ["a.txt", "b.txt", "deep/c.txt"]
    assert [d.text for d in Files([tmp_path / "d.md", f"{tmp_path}/b*"]).documents()] == ["d.md", "b.txt"]


def test_packed_jsonl_is_jsonl(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(jsonl({"text": "one"}).encode()))
    assert [d.text for d in Files(tmp_path / "a.jsonl.gz").documents()] == ["one"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"txt": "a", "id": 3}', "expected a record with `text`, `messages`"),
        ('{"text": [5]}', "expected a string `text`; received `text` of type list"),
        ('["text"]', "expected a JSON object; received list"),
        ('{"text": "a"', "this is not JSON"),
        (r'{"text": "a\ud800"}', "lone surrogate at character 1"),
    ],
)
def test_a_bad_jsonl_line_is_named_by_file_and_line(tmp_path: pathlib.Path, line: str, reason: str) -> None:
    (tmp_path / "a.jsonl").write_text(jsonl({"text": "fine"}) + "\n" + line + "\n")
    with pytest.raises(DataError, match=r"a\.jsonl:3: ") as error:
        list(Files(tmp_path / "a.jsonl").documents())
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_empty_files_and_missing_paths_are_errors(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "b.txt").write_text(" \n")
    with pytest.raises(DataError, match=r"b\.txt has no text"):
        list(Files(f"{tmp_path}/*.txt").documents())
    with pytest.raises(DataError, match=r"no file at .*c\.txt"):
        Files(tmp_path / "c.txt")
    with pytest.raises(DataError, match=r"no file matches .*\*\.jsonl"):
        Files(f"{tmp_path}/*.jsonl")
    with pytest.raises(DataError, match="is a folder"):
        Files(tmp_path)
    with pytest.raises(DataError, match="at least one file"):
        Files([])
    with pytest.raises(DataError, match="`split` must be one of auto, file, line, blank-line"):
        Files(tmp_path / "a.txt", split="lines")


def test_the_fingerprint_is_of_the_content(tmp_path: pathlib.Path) -> None:
    first, moved = tmp_path / "a.txt", tmp_path / "deep" / "b.txt"
    first.write_text("some text")
    moved.parent.mkdir()
    moved.write_text("some text")
    before = Files(first).fingerprint()
    assert Files(moved).fingerprint() == before
    assert Files(first, split="line").fingerprint() != before
    assert Files(first, domain="d").fingerprint() != before
    assert Files([first, moved]).fingerprint() != before
    first.write_text("some test")
    assert Files(first).fingerprint() != before


def test_skipping_leaves_out_what_is_bad_and_counts_it(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.jsonl").write_text(jsonl({"text": "one"}, {"txt": "no"}, {"text": "two"}))
    (tmp_path / "b.txt").write_bytes(b"fine\nse\xff\nlast\n")
    (tmp_path / "c.txt").write_text(" ")
    (tmp_path / "d.jsonl.gz").write_bytes(gzip.compress(jsonl({"text": "three"}).encode())[:-9])
    (tmp_path / "e.txt").write_text("end")
    source = Files(f"{tmp_path}/*", split="line", options=ReadOptions(skip_bad=True))
    texts = [document.text for document in source.documents()]
    assert texts in (["one", "two", "fine", "last", "end"], ["one", "two", "fine", "last", "three", "end"])
    assert {reason: found["places"] for reason, found in source.bad_records.report()["reasons"].items()} == {
        "no known field": [f"{tmp_path}/a.jsonl:2"],
        "not UTF-8": [f"{tmp_path}/b.txt:2"],
        "empty file": [f"{tmp_path}/c.txt"],
        "rest of a damaged file": [f"{tmp_path}/d.jsonl.gz"],
    }


@pytest.mark.parametrize("split", ["file", "auto", "blank-line"])
def test_a_document_is_never_given_without_its_bad_lines(tmp_path: pathlib.Path, split: str) -> None:
    (tmp_path / "a.txt").write_bytes(b"one\ntwo\xff\nthree\n")
    (tmp_path / "b.txt").write_text("fine")
    source = Files(f"{tmp_path}/*", split=split, options=ReadOptions(skip_bad=True))
    assert [document.text for document in source.documents()] == ["fine"]
    assert source.bad_records.report()["reasons"] == {
        "rest of a file that is not UTF-8": {"count": 1, "places": [f"{tmp_path}/a.txt:2"]}
    }


def test_skipping_and_fields_are_part_of_the_fingerprint(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(jsonl({"text": "one", "body": "two"}))
    options = (ReadOptions(), ReadOptions(skip_bad=True), ReadOptions(text_field="body"))
    assert len({Files(file, options=option).fingerprint() for option in options}) == 3


def test_an_unreadable_file_is_skipped_where_bad_ones_are(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(name)
    usual = pathlib.Path.open

    def refuse_first(path: pathlib.Path, *arguments: Any, **options: Any) -> Any:
        if path.name == "a.txt":
            raise PermissionError(13, "Permission denied")
        return usual(path, *arguments, **options)

    monkeypatch.setattr(pathlib.Path, "open", refuse_first)
    source = Files(f"{tmp_path}/*", options=ReadOptions(skip_bad=True))
    assert [document.text for document in source.documents()] == ["b.txt"]
    assert source.bad_records.report()["reasons"] == {
        "unreadable file": {"count": 1, "places": [f"{tmp_path}/a.txt"]}
    }
    assert source.fingerprint()
    with pytest.raises(DataError, match="Permission denied"):
        list(Files(f"{tmp_path}/*").documents())
    with pytest.raises(DataError, match="Permission denied"):
        Files(f"{tmp_path}/*").fingerprint()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jsonl", '{"instruction": "Q", "response": "A"}\n'),
        ("a.csv", "instruction,response\nQ,A\n"),
        ("a.tsv", "instruction\tresponse\nQ\tA\n"),
    ],
)
def test_records_of_every_format_go_one_way(tmp_path: pathlib.Path, name: str, data: str) -> None:
    (tmp_path / name).write_text(data)
    [document] = Files(tmp_path / name).documents()
    assert document.supervised is not None
    [(start, stop)] = document.supervised
    assert document.text[start:stop] == "A<|im_end|>\n"


def test_endings_in_capitals_are_the_same(tmp_path: pathlib.Path) -> None:
    (tmp_path / "UP.CSV").write_text("text\nfound\n")
    (tmp_path / "UP.JSONL.GZ").write_bytes(gzip.compress(b'{"text": "packed"}\n'))
    assert [d.text for d in Files(f"{tmp_path}/*").documents()] == ["found", "packed"]
