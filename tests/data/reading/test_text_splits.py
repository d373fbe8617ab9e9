"""Cutting text files into documents."""

from __future__ import annotations

import pathlib
import tracemalloc

import pytest

from highnoon.data import DataError, Files, ReadOptions
from highnoon.data.bad_records import BadRecords
from highnoon.data.reading.text_splits import (
    LONGEST_PARAGRAPH_BYTES,
    PIECE_BYTES,
    WHOLE_FILE_BYTES,
    split_text,
)


def write(folder: pathlib.Path, data: str | bytes) -> pathlib.Path:
    file = folder / "a.txt"
    file.write_bytes(data if isinstance(data, bytes) else data.encode())
    return file


@pytest.mark.parametrize(
    ("split", "documents"),
    [
        ("file", ["a\r\nb\n\n \nc  \n\n"]),
        ("line", ["a", "b", "c  "]),
        ("blank-line", ["a\r\nb", "c  "]),
        ("auto", ["a\r\nb\n\n \nc  \n\n"]),
    ],
)
def test_each_split_cuts_where_it_says(tmp_path: pathlib.Path, split: str, documents: list[str]) -> None:
    assert list(split_text(write(tmp_path, "a\r\nb\n\n \nc  \n\n"), split)) == documents


def test_auto_keeps_a_file_of_64_kib_whole(tmp_path: pathlib.Path) -> None:
    line = "x" * 63 + "\n"
    whole = line * (WHOLE_FILE_BYTES // 64)
    assert list(split_text(write(tmp_path, whole), "auto")) == [whole]
    assert len(list(split_text(write(tmp_path, whole + "y"), "auto"))) > 1


@pytest.mark.parametrize("paragraph_lines", [1, 7, 1000])
def test_auto_cuts_a_long_file_into_pieces_that_join_to_it(
    tmp_path: pathlib.Path, paragraph_lines: int
) -> None:
    lines = [f"line {number} of the é file\n" for number in range(6000)]
    paragraphs = ["".join(lines[i : i + paragraph_lines]) + "\n" for i in range(0, 6000, paragraph_lines)]
    text = "".join(paragraphs)
    pieces = list(split_text(write(tmp_path, text), "auto"))
    sizes = [len(piece.encode()) for piece in pieces]
    assert "".join(pieces) == text
    assert min(sizes) >= PIECE_BYTES
    assert max(sizes) <= LONGEST_PARAGRAPH_BYTES + PIECE_BYTES + 100
    if paragraph_lines < 1000:
        assert all(piece.endswith("\n\n") for piece in pieces)
    else:
        assert all(piece.endswith("\n") for piece in pieces)


def test_bytes_that_are_not_utf8_are_named_by_file_and_offset(tmp_path: pathlib.Path) -> None:
    file = write(tmp_path, b"first line\nse\xffcond\n")
    for split in ("file", "line", "blank-line", "auto"):
        with pytest.raises(DataError, match=r"a\.txt is not UTF-8 at byte 13 \("):
            list(split_text(file, split))


def test_a_byte_order_mark_is_no_text(tmp_path: pathlib.Path) -> None:
    file = write(tmp_path, b"\xef\xbb\xbfabc\n\xff")
    with pytest.raises(DataError, match="at byte 7"):
        list(split_text(file, "file"))
    assert list(split_text(write(tmp_path, b"\xef\xbb\xbfabc\n\xef\xbb\xbf"), "file")) == ["abc\n\ufeff"]


def test_blank_files_hold_no_documents(tmp_path: pathlib.Path) -> None:
    for split in ("file", "line", "blank-line", "auto"):
        assert not list(split_text(write(tmp_path, " \n\n\t\n"), split))
    assert not list(split_text(write(tmp_path, "\n" * (WHOLE_FILE_BYTES + 1)), "auto"))


@pytest.mark.parametrize(("split", "documents"), [("file", 0), ("blank-line", 1)])
def test_a_document_longer_than_the_bound_ends_the_file(
    tmp_path: pathlib.Path, split: str, documents: int
) -> None:
    texts = split_text(write(tmp_path, "one\n\n" + "line\n" * 30), split, max_line_bytes=100)
    for _ in range(documents):
        assert next(texts) == "one"
    with pytest.raises(
        DataError, match=r"a\.txt: a document is longer than max_line_bytes=100; .*`max_line_bytes`"
    ):
        next(texts)
    assert len(list(split_text(tmp_path / "a.txt", "line", max_line_bytes=100))) == 31


def test_a_document_of_many_short_lines_takes_memory_in_proportion_to_its_text(
    tmp_path: pathlib.Path,
) -> None:
    file = write(tmp_path, "a\n" * 200_000)
    tracemalloc.start()
    [text] = split_text(file, "file")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(text) == 400_000 and peak < 2_000_000


@pytest.mark.parametrize("split", ["file", "auto", "blank-line", "line"])
def test_a_character_of_binary_files_is_no_text(tmp_path: pathlib.Path, split: str) -> None:
    file = write(tmp_path, "fine\n\nno\0\nfine\n")
    with pytest.raises(DataError, match=r"a\.txt:3: the line has a NUL character"):
        list(split_text(file, split))
    bad = BadRecords(skip=True)
    assert list(split_text(file, "line", bad)) == ["fine", "fine"]
    assert bad.report()["reasons"]["NUL character"]["places"] == [f"{file}:3"]


def test_a_line_that_is_too_long_is_cut_at_spaces(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "one-line.txt"
    text = "Das Café am Fluß öffnet spät. " * 8000 + "\nthe end"
    path.write_text(text)
    pieces = list(split_text(path, "auto", max_line_bytes=100_000))
    assert "".join(pieces) == text and len(pieces) >= 10
    assert all(piece.endswith(" ") for piece in pieces[:-1])
    assert max(len(piece.encode()) for piece in pieces[:-1]) <= 32 << 10
    path.write_text("狐" * 100_000)
    assert "".join(split_text(path, "auto", max_line_bytes=100_000)) == "狐" * 100_000
    with pytest.raises(DataError, match="the line is longer than max_line_bytes=100,000"):
        list(split_text(path, "line", max_line_bytes=100_000))
    skipping, plain = ReadOptions(skip_bad=True, max_line_bytes=100_000), ReadOptions(skip_bad=True)
    assert Files(path, options=skipping)._text_form(path) == "text/auto/long lines"
    assert Files(path, options=plain)._text_form(path) == "text/auto"
