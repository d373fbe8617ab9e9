"""Numbered lines of a file; lines that are too long are detected without loading them."""

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
    """Yields the number (from 1), byte offset (in the decompressed file) and bytes of each line with its end.

    A byte order mark at the start of the file is removed.

    Raises:
        BadRecordError: If a line is longer than `max_line_bytes`, unless bad records are skipped.
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
                        f"shorten it, or increase `max_line_bytes`",
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
        BadRecordError: If it is not UTF-8; the error names file, offset and line.
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
    """Yields the number and text of each line of a UTF-8 file, including its line end.

    Args:
        path: The file, which may be compressed.
        bad: Handles lines that cannot be read; None raises.
        max_line_bytes: Maximum size of a line.

    Raises:
        BadRecordError: If a line is not UTF-8 or too long, unless bad records are skipped.
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
    """Reads to the end of the line and returns the number of bytes."""
    skipped = 0
    while part := stream.readline(_SKIP_BYTES):
        skipped += len(part)
        if part.endswith(b"\n"):
            break
    return skipped
