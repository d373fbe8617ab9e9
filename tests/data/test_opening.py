"""Packed files: the same bytes, and damage that is found."""

from __future__ import annotations

import gzip
import pathlib
import sys

import pytest

from highnoon.data import DataError
from highnoon.data.opening import open_bytes

DATA = b"".join(b"line %d of some text\n" % number for number in range(20_000))


def pack(path: pathlib.Path, data: bytes) -> bytes:
    if path.suffix == ".zst":
        zstandard = pytest.importorskip("zstandard", reason="the extra zstd is not installed")
        packed: bytes = zstandard.ZstdCompressor().compress(data)
        return packed
    return gzip.compress(data) if path.suffix == ".gz" else data


@pytest.fixture(params=["a.txt", "a.txt.gz", "a.txt.zst"])
def path(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / request.param


@pytest.fixture(params=["a.txt.gz", "a.txt.zst"])
def packed_path(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / request.param


def read(path: pathlib.Path) -> bytes:
    with open_bytes(path) as stream:
        return stream.read()


def test_every_form_gives_the_same_bytes(path: pathlib.Path) -> None:
    path.write_bytes(pack(path, DATA))
    assert read(path) == DATA
    with open_bytes(path) as stream:
        assert list(stream) == DATA.splitlines(keepends=True)


def test_packed_files_one_after_another_are_one(path: pathlib.Path) -> None:
    path.write_bytes(pack(path, DATA) + pack(path, b"more"))
    assert read(path) == DATA + b"more"


def test_a_cut_file_is_an_error_that_names_it(packed_path: pathlib.Path) -> None:
    packed = pack(packed_path, DATA)
    packed_path.write_bytes(packed[:len(packed) // 2])
    with pytest.raises(DataError, match=r"a\.txt\.\w+ is damaged or cut short"):
        read(packed_path)


def test_a_file_that_is_not_packed_is_an_error(packed_path: pathlib.Path) -> None:
    packed_path.write_bytes(b"plain text, whatever the name says")
    with pytest.raises(DataError, match="is damaged or cut short"):
        read(packed_path)


def test_a_missing_file_is_an_error(path: pathlib.Path) -> None:
    with pytest.raises(DataError, match="cannot read .*a.txt"):
        read(path)


def test_without_zstandard_the_error_names_the_extra(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    (tmp_path / "a.zst").write_bytes(b"")
    with pytest.raises(ImportError, match=r"pip install highnoon\[zstd\]"):
        read(tmp_path / "a.zst")
