"""Splits a text file into documents: by file, line, blank line, or depending on its size."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from highnoon.data.bad_records import BadRecordError, BadRecords
from highnoon.data.reading.encodings import UTF_8
from highnoon.data.reading.lines import MAX_LINE_BYTES, raw_lines, read_lines
from highnoon.data.reading.remote import FilePath

TEXT_SPLITS = ("auto", "file", "line", "blank-line")
WHOLE_FILE_BYTES = 64 * 1024
PIECE_BYTES = 4 * 1024
LONGEST_PARAGRAPH_BYTES = 4 * PIECE_BYTES
_BLOCK_LINES = 1024


def split_text(
    path: FilePath,
    split: str,
    bad: BadRecords | None = None,
    max_line_bytes: int = MAX_LINE_BYTES,
    encoding: str = UTF_8,
) -> Iterator[str]:
    """Returns the documents of a text file, in order, without blank ones.

    Args:
        path: The file, which may be compressed; a byte order mark at its start is removed.
        split: `"file"`: the complete file. `"line"`: each line that is not blank. `"blank-line"`: each
            paragraph. `"auto"`: a file of up to 64 KiB is one document; a longer file is split into pieces of
            at least 4 KiB after blank lines, or after any line if 16 KiB have no blank one. The pieces of
            `"auto"` joined are the file, so nothing is lost: a line that is longer than `max_line_bytes` is
            cut at spaces into pieces of up to 32 KiB.
        bad: Handles lines that cannot be read if each line is a document; None raises. A document of several
            lines is never returned without such a line: reading the file ends there.
        max_line_bytes: Maximum size of a line, and of a document of several lines, in bytes.
        encoding: The encoding of the file, if it is not UTF-8; see `open_utf8`.

    Raises:
        BadRecordError: If bytes are not UTF-8 (the error names file and offset), there is a NUL character, or
            a line or document is too long.
    """
    part_bytes = LONGEST_PARAGRAPH_BYTES if split == "auto" else None
    lines = _plain_lines(path, bad if split == "line" else None, max_line_bytes, encoding, part_bytes)
    if split == "line":
        texts: Iterable[str] = (line.rstrip("\r\n") for line in lines)
    elif split == "blank-line":
        texts = _paragraphs(lines, _Joined(path, max_line_bytes))
    elif split == "file":
        texts = _whole(lines, _Joined(path, max_line_bytes))
    else:
        texts = _by_size(lines)
    return (text for text in texts if text.strip())


def has_long_line(path: FilePath, max_line_bytes: int, encoding: str = UTF_8) -> bool:
    """Returns whether a file has a line that `"auto"` cuts, and that earlier versions skipped as bad.

    Raises:
        DataError: If the file cannot be read.
    """
    found = BadRecords(skip=True)
    return any(found.total for _ in raw_lines(path, found, max_line_bytes, encoding)) or found.total > 0


class _Joined:
    """Joins the lines of one document in blocks, so that short lines take no more memory than their text."""

    def __init__(self, path: FilePath, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._size = 0
        self._blocks: list[str] = []
        self._lines: list[str] = []

    def add(self, line: str) -> None:
        self._size += len(line) if line.isascii() else len(line.encode())
        if self._size > self._max_bytes:
            raise BadRecordError(
                f"{self._path}: a document is longer than max_line_bytes={self._max_bytes:,}; split the "
                f"file another way with `split`, or increase `max_line_bytes`",
                "rest of a file after a document too long",
                str(self._path),
            )
        self._lines.append(line)
        if len(self._lines) >= _BLOCK_LINES:
            self._blocks.append("".join(self._lines))
            self._lines = []

    def take(self) -> str:
        """Returns the document and starts the next one."""
        text = "".join(self._blocks) + "".join(self._lines)
        self._size, self._blocks, self._lines = 0, [], []
        return text


def _plain_lines(
    path: FilePath, bad: BadRecords | None, max_line_bytes: int, encoding: str, part_bytes: int | None
) -> Iterator[str]:
    for number, line in read_lines(path, bad, max_line_bytes, encoding, part_bytes):
        if "\0" not in line:
            yield line
            continue
        error = BadRecordError(
            f"{path}:{number}: the line has a NUL character, as binary files do; remove the character or the "
            f"file",
            "NUL character",
            f"{path}:{number}",
        )
        if bad is None:
            raise error
        bad.take(error)


def _whole(lines: Iterable[str], joined: _Joined) -> Iterator[str]:
    for line in lines:
        joined.add(line)
    yield joined.take()


def _paragraphs(lines: Iterable[str], joined: _Joined) -> Iterator[str]:
    for line in lines:
        if line.strip():
            joined.add(line)
        elif text := joined.take():
            yield text.rstrip("\r\n")
    if text := joined.take():
        yield text.rstrip("\r\n")


def _by_size(lines: Iterator[str]) -> Iterator[str]:
    head: list[str] = []
    size = 0
    for line in lines:
        head.append(line)
        size += len(line.encode())
        if size > WHOLE_FILE_BYTES:
            return _pieces(itertools.chain(head, lines))
    return iter(["".join(head)])


def _pieces(lines: Iterable[str]) -> Iterator[str]:
    """Yields pieces of at least `PIECE_BYTES`; a short last piece is joined to the one before."""
    held: list[str] = []
    previous, size = "", 0
    for line in lines:
        held.append(line)
        size += len(line.encode())
        if size >= LONGEST_PARAGRAPH_BYTES or (size >= PIECE_BYTES and not line.strip()):
            if previous:
                yield previous
            previous, held, size = "".join(held), [], 0
    yield previous + "".join(held)
