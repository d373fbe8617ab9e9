"""Prints text that holds names and values of others."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from highnoon.files.printable import printable
from highnoon.files.printable_stream import encodable, raw_stream


def print_text(*values: Any, file: TextIO | None = None) -> None:
    """Prints as `print` does, with control characters, and what the stream cannot encode, as escapes.

    Args:
        *values: What to print, with spaces between.
        file: Where; None takes the standard output.
    """
    stream = sys.stdout if file is None else file
    print(encodable(printable(" ".join(map(str, values))), raw_stream(stream)), file=stream)


def print_generated(text: str) -> None:
    """Prints text that a model wrote: safe for a terminal, and as it is into a file or a pipe.

    Characters that the output's encoding has not are escapes in both.
    """
    if sys.stdout.isatty():
        print_text(text)
    else:
        stream = raw_stream(sys.stdout)
        print(encodable(text, stream), file=stream, flush=True)
