"""The records of an event file: length, checksum, bytes, checksum."""

from __future__ import annotations

import io
import os
import pathlib
import struct
from collections.abc import Iterator
from typing import Any

_HEADER, _FOOTER = 12, 4


def as_record(event: Any) -> bytes:
    """Returns an event as the bytes of a record."""
    from tensorboard.summary.writer.record_writer import RecordWriter

    stream = io.BytesIO()
    RecordWriter(stream).write(event.SerializeToString())
    return stream.getvalue()


def read_records(path: pathlib.Path) -> Iterator[tuple[bytes, int]]:
    """Yields the bytes of each complete record and the offset of its end; stops at an incomplete record."""
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    end = 0
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        while len(header := stream.read(_HEADER)) == _HEADER:
            length, header_sum = struct.unpack("<QI", header)
            if masked_crc32c(header[:8]) != header_sum or length > size - end:
                return
            data, footer = stream.read(length), stream.read(_FOOTER)
            if len(footer) < _FOOTER or masked_crc32c(data) != struct.unpack("<I", footer)[0]:
                return
            end += _HEADER + length + _FOOTER
            yield data, end


def whole_length(path: pathlib.Path) -> int:
    """Returns the size of a file up to the end of its last complete record."""
    return max((end for _, end in read_records(path)), default=0)
