"""Opening plain and compressed files as streams of bytes, damage found rather than passed over."""

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
    """Opens a local or remote file for reading; `.gz` and `.zst` are unpacked.

    A plain file can be read in any order, a packed one forward.

    Raises:
        DataError: the file is missing, cannot be read, is damaged or cut short, changed while it was
            read, or unpacks to absurdly many bytes, see `BoundedExpansion`.
        ImportError: the file ends in `.zst` and the extra `zstd` is not installed.
    """
    try:
        before = file_version(path)
        with WholeStream(path, before[0]) as raw, _unpacked(path, raw) as stream:
            yield stream
        after = file_version(path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadRecordError(
            f"{path} is damaged or cut short ({error}); fetch or pack it again",
            "rest of a damaged file",
            str(path),
        ) from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    if after != before:
        raise DataError(
            f"{path} changed while it was read (from {before[0]} to {after[0]} bytes); let it be "
            f"finished, then read it again"
        )


@contextlib.contextmanager
def local_file(path: FilePath) -> Iterator[pathlib.Path]:
    """Gives a plain local file for libraries that read nothing else: a remote or packed one is copied.

    The copy lies in the system's folder for temporary files until it is read.

    Raises:
        DataError: as `open_bytes` does.
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
    """Whether the end of a file's name, in small or capital letters, says that it is packed."""
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
