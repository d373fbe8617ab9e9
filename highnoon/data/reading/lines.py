"""Lines of a file, with their numbers; long ones are found without being held."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import IO

from highnoon.data.bad_records import BadRecordError, BadRecords
from highnoon.data.reading.opening import open_bytes
from highnoon.data.reading.remote import FilePath

MAX_LINE_BYTES = 64 << 20
_SKIP_BYTES = 1 << 20


def raw_lines(
    path: FilePath, bad: BadRecords, max_line_bytes: int = MAX_LINE_BYTES
) -> Iterator[tuple[int, int, bytes]]:
    """Yields number (from 1), offset in bytes (of the unpacked file) and bytes of each line, end included.

    A byte order mark at the start of the file is left out.

    Raises:
        BadRecordError: a line is longer than `max_line_bytes`, unless bad records are skipped.
    """
    offset, number = 0, 0
    with open_bytes(path) as stream:
        while line := stream.readline(max_line_bytes + 1):
            number += 1
            start = len(codecs.BOM_UTF8) if number == 1 and line.startswith(codecs.BOM_UTF8) else 0
            size = len(line)
            if size > max_line_bytes and not line.endswith(b"\n"):
                bad.take(
                    BadRecordError(
                        f"{path}:{number}: the line is longer than max_line_bytes={max_line_bytes:,}; "
                        f"cut it, or raise `max_line_bytes`",
                        "line too long",
                        f"{path}:{number}",
                    )
                )
                size += _skip_line(stream)
            else:
                yield number, offset + start, line[start:] if start else line
            offset += size


def decoded(path: FilePath, number: int, offset: int, line: bytes) -> str:
    """Returns a line of `raw_lines` as text.

    Raises:
        BadRecordError: bytes that are not UTF-8, named by file, offset and line.
    """
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRecordError(
            f"{path} is not UTF-8 at byte {offset + error.start} (line {number}: {error.reason}); convert "
            f"the file to UTF-8",
            "not UTF-8",
            f"{path}:{number}",
        ) from None


def read_lines(
    path: FilePath, bad: BadRecords | None = None, max_line_bytes: int = MAX_LINE_BYTES
) -> Iterator[tuple[int, str]]:
    """Yields number and text of each line of a UTF-8 file, its line end included.

    Args:
        path: The file, perhaps packed.
        bad: What becomes of lines that cannot be read; None raises.
        max_line_bytes: Longest line.

    Raises:
        BadRecordError: bytes that are not UTF-8, or a line too long, unless bad records are skipped.
    """
    bad = bad or BadRecords()
    for number, offset, line in raw_lines(path, bad, max_line_bytes):
        try:
            text = decoded(path, number, offset, line)
        except BadRecordError as error:
            bad.take(error)
            continue
        yield number, text


def _skip_line(stream: IO[bytes]) -> int:
    """Reads to the end of the line; returns how many bytes that were."""
    skipped = 0
    while part := stream.readline(_SKIP_BYTES):
        skipped += len(part)
        if part.endswith(b"\n"):
            break
    return skipped
