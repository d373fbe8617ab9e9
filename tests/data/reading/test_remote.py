"""Files behind URLs, in fsspec's memory."""

from __future__ import annotations

import gzip
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from highnoon.data import DataError, open_source, prepare
from highnoon.data.reading.remote import is_remote
from highnoon.tokenization import ByteTokenizer

fsspec = pytest.importorskip("fsspec", reason="the extra remote is not installed")


@pytest.fixture
def memory() -> Iterator[Any]:
    system = fsspec.filesystem("memory")
    yield system
    system.rm("/highnoon-test", recursive=True)


def put(system: Any, name: str, data: bytes) -> str:
    system.pipe_file(f"/highnoon-test/{name}", data)
    return f"memory://highnoon-test/{name}"


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("gs://b/a", True),
        ("https://x/a.jsonl?b=1", True),
        ("a/b", False),
        ("hf:org/name", False),
        ("C://x", False),
        (pathlib.Path("gs://b"), False),
    ],
)
def test_a_url_is_no_path(name: Any, answer: bool) -> None:
    assert is_remote(name) == answer


def test_a_remote_file_is_read_as_a_local_one(memory: Any) -> None:
    url = put(memory, "a.jsonl", b'{"text": "one"}\n{"text": "two", "id": 7}\n')
    assert [(d.text, d.source, d.id) for d in open_source(url).documents()] == [
        ("one", "a.jsonl", "1"),
        ("two", "a.jsonl", "7"),
    ]


def test_globs_find_packed_files_in_the_order_of_names(memory: Any) -> None:
    put(memory, "deep/b.txt.gz", gzip.compress(b"two"))
    put(memory, "a.txt", b"one")
    put(memory, "c.csv", b"text\nthree\n")
    texts = [d.text for d in open_source("memory://highnoon-test/**").documents()]
    assert texts == ["one", "three", "two"]


def test_parquet_is_read_where_it_lies(memory: Any, tmp_path: pathlib.Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"text": ["one", "two"]}), tmp_path / "a.parquet")
    url = put(memory, "a.parquet", (tmp_path / "a.parquet").read_bytes())
    assert [d.text for d in open_source(url).documents()] == ["one", "two"]


def test_the_fingerprint_changes_with_the_file(memory: Any) -> None:
    url = put(memory, "a.txt", b"one")
    before = open_source(url).fingerprint()
    assert open_source(url).fingerprint() == before
    put(memory, "a.txt", b"two")
    assert open_source(url).fingerprint() != before


def test_bad_lines_are_named_by_url_and_line(memory: Any) -> None:
    with pytest.raises(DataError, match=r"memory://highnoon-test/a\.jsonl:2: "):
        list(open_source(put(memory, "a.jsonl", b'{"text": "one"}\n{\n')).documents())


def test_a_read_that_breaks_is_an_error_whatever_the_driver_raises(
    memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def read(self, size: int) -> bytes:
            raise RuntimeError("connection lost")

        def close(self) -> None:
            pass

    source = open_source(put(memory, "a.txt", b"one"))
    monkeypatch.setattr(type(memory), "open", lambda *arguments, **options: Broken())
    with pytest.raises(DataError, match=r"cannot read memory://.*a\.txt: connection lost"):
        list(source.documents())


def test_a_file_that_changes_while_it_is_read_is_an_error(memory: Any) -> None:
    url = put(memory, "a.txt", b"one\ntwo\n")
    documents = open_source(url, split="line").documents()
    next(documents)
    put(memory, "a.txt", b"three\n")
    with pytest.raises(DataError, match=r"a\.txt changed while it was read|a\.txt is damaged or truncated"):
        list(documents)


def test_what_is_not_there_is_an_error(memory: Any) -> None:
    put(memory, "d/a.txt", b"one")
    for url, reason in (
        ("memory://highnoon-test/none.txt", "no file at memory://"),
        ("memory://highnoon-test/*.csv", "no file matches memory://"),
        ("memory://highnoon-test/d", "is a folder; name its files"),
        ("nosuch://a/b", "cannot read nosuch://a/b"),
    ):
        with pytest.raises(DataError, match=reason):
            open_source(url)


def test_without_fsspec_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(ImportError, match=r"pip install highnoon\[remote\]"):
        open_source("gs://bucket/a.txt")


def test_a_url_is_prepared(memory: Any, tmp_path: pathlib.Path) -> None:
    url = put(memory, "a.jsonl", b'{"text": "one"}\n{"text": "two"}\n')
    assert len(prepare(open_source(url), ByteTokenizer(), tmp_path / "out", validation_split=0.0)) == 2
