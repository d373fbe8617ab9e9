"""Numbered lines of a file; lines that are too long are detected without loading them."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import IO

from highnoon.data.bad_records import BadRecordError, BadRecords
from highnoon.data.reading.encodings import UTF_8, how_to_decode
from highnoon.data.reading.remote import FilePath
from highnoon.data.reading.transcoded import open_utf8

MAX_LINE_BYTES = 64 << 20
_SKIP_BYTES = 1 << 20


def raw_lines(
    path: FilePath,
    bad: BadRecords,
    max_line_bytes: int = MAX_LINE_BYTES,
    encoding: str = UTF_8,
    part_bytes: int | None = None,
) -> Iterator[tuple[int, int, bytes]]:
    """Yields the number (from 1), byte offset (in the decompressed file) and bytes of each line with its end.

    A byte order mark at the start of the file is removed. A file of another encoding is read as UTF-8, see
    `open_utf8`.

    Args:
        path: The file.
        bad: Handles lines that are too long.
        max_line_bytes: Maximum size of a line.
        encoding: The encoding of the file, if it is not UTF-8.
        part_bytes: Yields a line that is too long in parts of this size, cut after a space where there is
            one; None makes it a bad record.

    Raises:
        BadRecordError: If a line is longer than `max_line_bytes`, unless bad records are skipped.
    """
    offset, number = 0, 0
    with open_utf8(path, encoding) as stream:
        while line := stream.readline(max_line_bytes + 1):
            number += 1
            start = len(codecs.BOM_UTF8) if number == 1 and line.startswith(codecs.BOM_UTF8) else 0
            size = len(line)
            if size > max_line_bytes and not line.endswith(b"\n") and part_bytes is not None:
                size = start
                for part in _parts(line[start:], stream, part_bytes):
                    yield number, offset + size, part
                    size += len(part)
            elif size > max_line_bytes and not line.endswith(b"\n"):
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


def decoded(path: FilePath, number: int, offset: int, line: bytes, is_raised: bool = True) -> str:
    """Returns a line of `raw_lines` as text.

    Args:
        path: The file.
        number: The number of the line.
        offset: Its first byte.
        line: Its bytes.
        is_raised: Whether a caller shows the error, which then says which encodings are likely.

    Raises:
        BadRecordError: If it is not UTF-8; the error names file, offset and line.
    """
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRecordError(
            f"{path} is not UTF-8 at byte {offset + error.start} (line {number}: {error.reason})"
            f"{'; ' + how_to_decode(path, offset + error.start) if is_raised else ''}",
            "not UTF-8",
            f"{path}:{number}",
        ) from None


def read_lines(
    path: FilePath,
    bad: BadRecords | None = None,
    max_line_bytes: int = MAX_LINE_BYTES,
    encoding: str = UTF_8,
    part_bytes: int | None = None,
) -> Iterator[tuple[int, str]]:
    """Yields the number and text of each line of a text file, including its line end.

    Args:
        path: The file, which may be compressed.
        bad: Handles lines that cannot be read; None raises.
        max_line_bytes: Maximum size of a line.
        encoding: The encoding of the file, if it is not UTF-8.
        part_bytes: As in `raw_lines`.

    Raises:
        BadRecordError: If a line is not UTF-8 or too long, unless bad records are skipped.
    """
    bad = bad or BadRecords()
    for number, offset, line in raw_lines(path, bad, max_line_bytes, encoding, part_bytes):
        try:
            text = decoded(path, number, offset, line, not bad.skip)
        except BadRecordError as error:
            bad.take(error)
            continue
        yield number, text


def _parts(line: bytes, stream: IO[bytes], part_bytes: int) -> Iterator[bytes]:
    """Yields a line, of which the beginning is read already, in parts."""
    held, is_whole = line, False
    while not is_whole or held:
        if not is_whole and len(held) <= part_bytes:
            more = stream.readline(_SKIP_BYTES)
            held, is_whole = held + more, not more or more.endswith(b"\n")
            continue
        if len(held) <= part_bytes:
            yield held
            return
        stop = held.rfind(b" ", 0, part_bytes) + 1 or part_bytes
        # Without a space, the cut is before the first byte of a character.
        while 0x80 <= held[stop] < 0xC0 and stop > part_bytes - 4:
            stop -= 1
        yield held[:stop]
        held = held[stop:]


def _skip_line(stream: IO[bytes]) -> int:
    """Reads to the end of the line and returns the number of bytes."""
    skipped = 0
    while part := stream.readline(_SKIP_BYTES):
        skipped += len(part)
        if part.endswith(b"\n"):
            break
    return skipped
