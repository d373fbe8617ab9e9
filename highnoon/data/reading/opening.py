"""Opens plain and compressed files as streams of bytes and detects damage."""

from __future__ import annotations

import contextlib
import gzip
import io
import pathlib
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from typing import IO

from highnoon.data.bad_records import BadRecordError
from highnoon.data.document import DataError
from highnoon.data.reading.bounded_expansion import BoundedExpansion
from highnoon.data.reading.remote import FilePath, RemotePath, file_version
from highnoon.data.reading.whole_stream import WholeStream
from highnoon.data.reading.zstd_stream import ZstdStream
from highnoon.files.name_path import FULL_DISK, name_path

COMPRESSED_SUFFIXES = (".gz", ".zst")
_READ_BYTES = 1 << 17


@contextlib.contextmanager
def open_bytes(path: FilePath) -> Iterator[IO[bytes]]:
    """Opens a local or remote file for reading; `.gz` and `.zst` are decompressed.

    A plain file is seekable; a compressed file can only be read forward.

    Raises:
        DataError: If the file is missing, cannot be read, is damaged or truncated, changed while it was read,
            or expands too far, see `BoundedExpansion`.
        ImportError: If the name ends in `.zst` and the extra `zstd` is not installed.
    """
    try:
        before = file_version(path)
        with WholeStream(path, before[0]) as raw, _unpacked(path, raw) as stream:
            yield stream
        after = file_version(path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadRecordError(
            f"{path} is damaged or truncated ({error}); download or compress it again",
            "rest of a damaged file",
            str(path),
        ) from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    if after != before:
        raise DataError(
            f"{path} changed while it was read (from {before[0]} to {after[0]} bytes); wait until it is "
            f"complete, then read it again"
        )


@contextlib.contextmanager
def local_file(path: FilePath) -> Iterator[pathlib.Path]:
    """Yields a plain local file, for libraries that need one: a remote or compressed file is copied.

    The copy is in the system's folder for temporary files until the block ends.

    Raises:
        DataError: As for `open_bytes`.
    """
    if not isinstance(path, RemotePath) and not is_packed(path):
        with open_bytes(path):
            yield path
        return
    with tempfile.TemporaryDirectory(prefix="highnoon-") as folder:
        copy = pathlib.Path(folder, "unpacked")
        with open_bytes(path) as stream, name_path(copy, FULL_DISK), copy.open("wb") as target:
            shutil.copyfileobj(stream, target, _READ_BYTES)
        yield copy


def is_packed(path: FilePath) -> bool:
    """Returns whether a file's suffix, in any case, is one of a compressed file."""
    return path.name.lower().endswith(COMPRESSED_SUFFIXES)


def uncompressed_name(path: FilePath) -> str:
    """Returns `a.jsonl` of `a.jsonl.gz`."""
    return pathlib.PurePath(path.name).stem if is_packed(path) else path.name


def _unpacked(path: FilePath, raw: WholeStream) -> IO[bytes]:
    packed = io.BufferedReader(raw, _READ_BYTES)
    name = path.name.lower()
    if name.endswith(".gz"):
        return io.BufferedReader(
            BoundedExpansion(gzip.GzipFile(fileobj=packed), packed, str(path)), _READ_BYTES
        )
    if name.endswith(".zst"):
        unpacked = ZstdStream(packed, str(path))
        return io.BufferedReader(BoundedExpansion(unpacked, packed, str(path)), _READ_BYTES)
    return packed
