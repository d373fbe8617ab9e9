"""Text and JSON-lines files as a source."""

from __future__ import annotations

import gzip
import json
import pathlib

import pytest

from highnoon.data import DataError, Document, Files


def jsonl(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_jsonl_rows_keep_their_source_and_id(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(jsonl({"text": "one", "source": "book", "id": 7}) + "\n" + jsonl({"text": "two", "x": 1}))
    assert list(Files(file, domain="d").documents()) == [
        Document("one", "book", "7", "d"), Document("two", "a.jsonl", "3", "d"),
    ]


def test_text_documents_are_numbered_within_their_file(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.txt").write_text("x\ny\n")
    assert list(Files(tmp_path / "a.txt", split="line").documents()) == [
        Document("x", "a.txt", "0"), Document("y", "a.txt", "1"),
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


@pytest.mark.parametrize(("line", "reason"), [
    ('{"txt": "a", "id": 3}', "expected a string `text`; received keys txt, id"),
    ('{"text": 5}', "expected a string `text`; received `text` of type int"),
    ('["text"]', "expected a JSON object with `text`; received list"),
    ('{"text": "a"', "this is not JSON"),
    (r'{"text": "a\ud800"}', "lone surrogate at character 1"),
])
def test_a_bad_jsonl_line_is_named_by_file_and_line(tmp_path: pathlib.Path, line: str, reason: str) -> None:
    (tmp_path / "a.jsonl").write_text(jsonl({"text": "fine"}) + "\n" + line + "\n")
    with pytest.raises(DataError, match=r"a\.jsonl:3: ") as error:
        list(Files(tmp_path / "a.jsonl").documents())
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_empty_files_and_missing_paths_are_errors(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "b.txt").write_text(" \n")
    with pytest.raises(DataError, match=r"b\.txt holds no text"):
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
