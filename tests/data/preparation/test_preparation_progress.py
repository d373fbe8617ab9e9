"""How much text is expected."""

from __future__ import annotations

import gzip
import pathlib

import pytest

from highnoon.data import Files
from highnoon.data.preparation.preparation_progress import expected_bytes


def test_plain_files_say_how_much_they_hold(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.txt").write_text("words")
    (tmp_path / "b.txt").write_text("more")
    source = Files(f"{tmp_path}/*")
    assert expected_bytes(source) == 9
    (tmp_path / "a.txt").unlink()
    assert expected_bytes(source) == 4


def test_packed_and_remote_files_say_nothing(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.txt.GZ").write_bytes(gzip.compress(b"words"))
    assert expected_bytes(Files(tmp_path / "a.txt.GZ")) is None
    fsspec = pytest.importorskip("fsspec", reason="the extra remote is not installed")
    fsspec.filesystem("memory").pipe_file("/highnoon-progress/a.txt", b"words")
    assert expected_bytes(Files("memory://highnoon-progress/a.txt")) is None
