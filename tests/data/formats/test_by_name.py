"""The format that a file's name says."""

from __future__ import annotations

import pathlib

import pytest

from highnoon.data.formats.by_name import format_of, reader_of


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.jsonl", ".jsonl"),
        ("a.csv.gz", ".csv"),
        ("a.b.parquet.zst", ".parquet"),
        ("a", ""),
        ("a.tfrecord-00000-of-00012", ".tfrecord"),
        ("part-00000-of-00012.parquet", ".parquet"),
    ],
)
def test_the_format_is_the_end_of_the_unpacked_name(name: str, form: str) -> None:
    assert format_of(pathlib.Path(name)) == form


def test_what_is_no_format_of_records_is_text() -> None:
    assert [reader_of(pathlib.Path(name)) for name in ("a.txt", "a.md", "a", "a.rst")] == [None] * 4
