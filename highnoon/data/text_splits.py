"""Cutting a text file into documents: by file, line, blank line, or as its size asks."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from highnoon.data.bad_rows import BadRows
from highnoon.data.lines import read_lines
from highnoon.data.read_options import MAX_LINE_BYTES
from highnoon.data.remote import FilePath

TEXT_SPLITS = ("auto", "file", "line", "blank-line")
WHOLE_FILE_BYTES = 64 * 1024
PIECE_BYTES = 4 * 1024
LONGEST_PARAGRAPH_BYTES = 4 * PIECE_BYTES


def split_text(path: FilePath, split: str, bad: BadRows | None = None,
               max_line_bytes: int = MAX_LINE_BYTES) -> Iterator[str]:
    """Returns the documents of a text file, in order, blank ones left out.

    Args:
        path: A UTF-8 file, perhaps compressed; a byte order mark at its start is left out.
        split: `"file"`: the whole file. `"line"`: each line that is not blank. `"blank-line"`: each
            paragraph. `"auto"`: a file of up to 64 KiB whole; a longer one in pieces of at least
            4 KiB cut after blank lines, or after a line where 16 KiB hold no blank one. The pieces
            of `"auto"` joined are the file, so nothing is lost.
        bad: What becomes of lines that cannot be read where each is a document; None raises. A longer
            document with such a line is never given without it: the file cannot be read on.
        max_line_bytes: Longest line.

    Raises:
        BadRowError: bytes that are not UTF-8, named by file and offset, or a line too long.
    """
    lines = (line for _, line in read_lines(path, bad if split == "line" else None, max_line_bytes))
    if split == "line":
        texts: Iterable[str] = (line.rstrip("\r\n") for line in lines)
    elif split == "blank-line":
        texts = _paragraphs(lines)
    else:
        texts = ["".join(lines)] if split == "file" else _by_size(lines)
    return (text for text in texts if text.strip())


def _paragraphs(lines: Iterable[str]) -> Iterator[str]:
    held: list[str] = []
    for line in lines:
        if line.strip():
            held.append(line)
        elif held:
            yield "".join(held).rstrip("\r\n")
            held = []
    if held:
        yield "".join(held).rstrip("\r\n")


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
    """Pieces of at least `PIECE_BYTES`; a short last one joins the one before."""
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
