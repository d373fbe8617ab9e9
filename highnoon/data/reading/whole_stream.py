"""A stream that raises an error if its file is truncated."""

from __future__ import annotations

import io
from typing import IO, Any

from highnoon.data.reading.remote import FilePath, RemotePath


class WholeStream(io.RawIOBase):
    """Reads a local or remote file up to the size it had when it was opened.

    Args:
        path: The file.
        size: Its size in bytes; None if unknown.

    Raises:
        EOFError: While reading, if the file ends before its size.
        OSError: If the file cannot be read.
    """

    def __init__(self, path: FilePath, size: int | None) -> None:
        self._file: IO[bytes] = path.open() if isinstance(path, RemotePath) else path.open("rb", buffering=0)
        self._size = size
        self.mode = "rb"

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._file.seekable()

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._file.read(len(buffer))
        except OSError:
            raise
        # Drivers of remote files raise errors of many unrelated classes.
        except Exception as error:
            raise OSError((str(error).splitlines() or [type(error).__name__])[0]) from error
        if not data and len(buffer) and self._size is not None and self.tell() < self._size:
            raise EOFError(f"ended after {self.tell():,} of {self._size:,} bytes")
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
