"""Standard output that no text can steer and no character can break."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from highnoon.files.printable import printable


class PrintableStream:
    """A text stream that writes control characters, and what its encoding has not, as escapes.

    Rich consoles, which write control sequences of their own, and `raw_stream` reach the stream below.

    Args:
        stream: The stream below.
    """

    def __init__(self, stream: TextIO) -> None:
        self.rich_proxied_file = stream

    def write(self, text: str) -> int:
        # As JSON and Python write it: output that is JSON stays JSON.
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
    """Returns the stream below those that change what is written."""
    while (below := getattr(stream, "rich_proxied_file", None)) is not None:
        stream = below
    return stream


def encodable(text: str, stream: Any) -> str:
    """Returns text in which characters that the encoding of a stream has not are escapes."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
