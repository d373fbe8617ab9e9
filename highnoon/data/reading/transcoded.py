"""Text of any encoding as a stream of UTF-8."""

from __future__ import annotations

import codecs
import contextlib
import io
from collections.abc import Iterator
from typing import IO, Any

from highnoon.data.bad_records import BadRecordError
from highnoon.data.reading.encodings import UTF_8, is_utf8
from highnoon.data.reading.opening import open_bytes
from highnoon.data.reading.remote import FilePath

_READ_BYTES = 1 << 16


@contextlib.contextmanager
def open_utf8(path: FilePath, encoding: str = UTF_8) -> Iterator[IO[bytes]]:
    """Opens a file as a stream of UTF-8.

    Args:
        path: The file.
        encoding: Its encoding, if it is not UTF-8: a file that is UTF-8 from beginning to end, without NUL
            characters, is read as it is, so that one encoding can be given for a folder.

    Raises:
        DataError: As for `open_bytes`.
        BadRecordError: While reading, if bytes are not of the encoding.
    """
    if encoding == UTF_8 or is_utf8(path):
        with open_bytes(path) as stream:
            yield stream
        return
    with open_bytes(path) as stream:
        yield io.BufferedReader(Transcoded(stream, encoding, str(path)), _READ_BYTES)


class Transcoded(io.RawIOBase):
    """The bytes of a stream, decoded and written as UTF-8; nothing is ever replaced.

    Args:
        stream: The stream.
        encoding: Its encoding.
        name: The name of the file, for errors.

    Raises:
        BadRecordError: While reading, if bytes are not of the encoding.
    """

    def __init__(self, stream: IO[bytes], encoding: str, name: str) -> None:
        self._stream, self._encoding, self._name = stream, encoding, name
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._held = memoryview(b"")
        self._offset = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._held:
            data = self._stream.read(_READ_BYTES)
            try:
                text = self._decoder.decode(data, final=not data)
                self._held = memoryview(text.encode(UTF_8))
            except UnicodeError as error:
                position = self._offset + getattr(error, "start", 0)
                raise BadRecordError(
                    f"{self._name} is not {self._encoding} near byte {position}; name its encoding with "
                    f"`encoding` (--encoding), or convert the file to UTF-8",
                    "rest of a file of another encoding",
                    self._name,
                ) from None
            self._offset += len(data)
            if not data and not self._held:
                return 0
        size = min(len(buffer), len(self._held))
        buffer[:size] = self._held[:size]
        self._held = self._held[size:]
        return size
