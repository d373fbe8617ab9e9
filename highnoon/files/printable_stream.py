"""A text stream that escapes control characters and characters that cannot be encoded."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from highnoon.files.printable import printable


class PrintableStream:
    """A text stream that writes control characters, and characters that it cannot encode, as escapes.

    Rich consoles, which write their own control sequences, and `raw_stream` use the underlying stream.

    Args:
        stream: The underlying stream.
    """

    def __init__(self, stream: TextIO) -> None:
        self.rich_proxied_file = stream

    def write(self, text: str) -> int:
        # Escaped as in JSON and Python, so that JSON output remains valid.
        safe = encodable(printable(text.replace("\x7f", "\\u007f")), self.rich_proxied_file)
        self.rich_proxied_file.write(safe)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)


@contextlib.contextmanager
def printable_output() -> Iterator[None]:
    """Makes `sys.stdout` a `PrintableStream` for the block."""
    below = sys.stdout
    above = PrintableStream(below)
    sys.stdout = above
    try:
        yield
    finally:
        if sys.stdout is above:
            sys.stdout = below


def raw_stream(stream: Any) -> Any:
    """Returns the innermost stream, which does not change text."""
    while (below := getattr(stream, "rich_proxied_file", None)) is not None:
        stream = below
    return stream


def encodable(text: str, stream: Any) -> str:
    """Returns text in which characters that a stream cannot encode are escaped."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
