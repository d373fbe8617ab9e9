"""Lines of files, long ones found without being held."""

from __future__ import annotations

import pathlib
import tracemalloc

import pytest

from highnoon.data.bad_records import BadRecordError, BadRecords
from highnoon.data.reading.lines import read_lines


def test_lines_keep_their_ends_and_are_numbered(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfa\r\n\nb")
    assert list(read_lines(tmp_path / "a")) == [(1, "a\r\n"), (2, "\n"), (3, "b")]


def test_a_line_of_just_the_bound_is_read(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a").write_text("12345\n12345")
    assert len(list(read_lines(tmp_path / "a", max_line_bytes=5))) == 2


def test_a_longer_line_is_an_error_with_its_number(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a").write_text("1\n123456\n")
    with pytest.raises(BadRecordError, match=r"a:2: the line is longer than max_line_bytes=5"):
        list(read_lines(tmp_path / "a", max_line_bytes=5))


def test_a_line_of_100_mb_is_skipped_without_being_held(tmp_path: pathlib.Path) -> None:
    with (tmp_path / "a").open("wb") as file:
        file.write(b"first\n")
        file.truncate(100_000_000)
        file.seek(0, 2)
        file.write(b"\nlast\n\xff\n")
    bad = BadRecords(skip=True)
    tracemalloc.start()
    lines = list(read_lines(tmp_path / "a", bad, max_line_bytes=1 << 20))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert lines == [(1, "first\n"), (3, "last\n")]
    assert {reason: found["places"] for reason, found in bad.report()["reasons"].items()} == {
        "line too long": [f"{tmp_path}/a:2"],
        "not UTF-8": [f"{tmp_path}/a:4"],
    }
    assert peak < 8 << 20


def test_the_offset_of_bad_bytes_counts_skipped_lines(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a").write_bytes(b"12345678\n\xff\n")

    class OnlyLong(BadRecords):
        def take(self, error: Exception, index: str = "") -> None:
            if "longer" not in str(error):
                raise error

    with pytest.raises(BadRecordError, match="byte 9 .line 2"):
        list(read_lines(tmp_path / "a", OnlyLong(), max_line_bytes=4))
