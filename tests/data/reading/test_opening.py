"""Packed files: the same bytes, and damage that is found."""

from __future__ import annotations

import gzip
import pathlib
import sys
import tracemalloc

import pytest

from highnoon.data import DataError
from highnoon.data.reading.opening import local_file, open_bytes

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
    packed_path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DataError, match=r"a\.txt\.\w+ is damaged or truncated"):
        read(packed_path)


def test_a_file_that_is_not_packed_is_an_error(packed_path: pathlib.Path) -> None:
    packed_path.write_bytes(b"plain text, whatever the name says")
    with pytest.raises(DataError, match="is damaged or truncated"):
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


def test_a_file_that_grows_while_it_is_read_is_an_error(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(DATA)
    with pytest.raises(DataError, match=rf"changed while it was read \(from {len(DATA)} to {len(DATA) + 4}"):
        with open_bytes(file) as stream:
            stream.readline()
            with file.open("ab") as end:
                end.write(b"more")


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(DATA)
    with pytest.raises(DataError, match=rf"truncated \(ended after [\d,]+ of {len(DATA):,} bytes\)"):
        with open_bytes(file) as stream:
            stream.readline()
            with file.open("r+b") as end:
                end.truncate(10)
            stream.read()


def test_a_file_that_may_not_be_read_is_an_error(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a.txt").write_bytes(DATA)
    monkeypatch.setattr(pathlib.Path, "open", refuse)
    with pytest.raises(DataError, match=r"cannot read .*a\.txt: Permission denied"):
        read(tmp_path / "a.txt")


def test_a_packed_file_is_unpacked_for_those_who_need_a_file(packed_path: pathlib.Path) -> None:
    packed_path.write_bytes(pack(packed_path, DATA))
    with local_file(packed_path) as copy:
        assert copy.read_bytes() == DATA
    assert not copy.exists()


@pytest.mark.parametrize("content", [b"\0", b"\n"])
def test_what_unpacks_too_far_is_refused_in_bounded_memory(packed_path: pathlib.Path, content: bytes) -> None:
    packed_path.write_bytes(pack(packed_path, content * 70_000_000))
    assert packed_path.stat().st_size < 80_000
    tracemalloc.start()
    with pytest.raises(DataError, match="expands to more than 1,000 times its size") as error:
        with open_bytes(packed_path) as stream:
            while stream.read(1 << 16):
                pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 80 << 20 and "\n" not in str(error.value)
