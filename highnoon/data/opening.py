"""Opening plain and compressed files as streams of bytes, damage found rather than passed over."""

from __future__ import annotations

import contextlib
import gzip
import io
import pathlib
import zlib
from collections.abc import Iterator
from typing import IO, Any

from highnoon.data.document import DataError

COMPRESSED_SUFFIXES = (".gz", ".zst")
_READ_BYTES = 1 << 16


@contextlib.contextmanager
def open_bytes(path: pathlib.Path) -> Iterator[IO[bytes]]:
    """Opens `path` for reading; `.gz` and `.zst` are unpacked.

    Raises:
        DataError: the file is missing, cannot be read, is damaged or cut short.
        ImportError: the file ends in `.zst` and the extra `zstd` is not installed.
    """
    try:
        with _open(path) as stream:
            yield stream
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is damaged or cut short ({error}); fetch or pack it again") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def uncompressed_suffix(path: pathlib.Path) -> str:
    """Returns `.jsonl` of `a.jsonl.gz`."""
    return pathlib.Path(path.stem).suffix if path.suffix in COMPRESSED_SUFFIXES else path.suffix


def _open(path: pathlib.Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    if path.suffix == ".zst":
        return io.BufferedReader(_ZstdReader(path), _READ_BYTES)
    return path.open("rb", buffering=_READ_BYTES)


class _ZstdReader(io.RawIOBase):
    """Frames of Zstandard one after another; the library's own reader ends a cut file without a word."""

    def __init__(self, path: pathlib.Path) -> None:
        try:
            import zstandard
        except ImportError:
            raise ImportError(f"{path} needs Zstandard: pip install highnoon[zstd]") from None
        self._library: Any = zstandard
        self._packed = path.open("rb")
        self._frame: Any = None
        self._input = b""
        self._output = memoryview(b"")

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._packed.close()
        super().close()

    def readinto(self, buffer: Any) -> int:
        while not self._output:
            if not self._unpack_some():
                return 0
        size = min(len(buffer), len(self._output))
        buffer[:size] = self._output[:size]
        self._output = self._output[size:]
        return size

    def _unpack_some(self) -> bool:
        """Unpacks one block; False at the end of the file."""
        self._input = self._input or self._packed.read(_READ_BYTES)
        if not self._input:
            if self._frame is not None:
                raise EOFError("the last Zstandard frame is not complete")
            return False
        self._frame = self._frame or self._library.ZstdDecompressor().decompressobj()
        try:
            self._output = memoryview(self._frame.decompress(self._input))
        except self._library.ZstdError as error:
            raise EOFError(str(error)) from error
        self._input = self._frame.unused_data if self._frame.eof else b""
        self._frame = None if self._frame.eof else self._frame
        return True
