"""Prints text from other sources safely."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from highnoon.files.printable import printable
from highnoon.files.printable_stream import encodable, raw_stream


def print_text(*values: Any, file: TextIO | None = None) -> None:
    """Prints like `print`, with control characters and characters that cannot be encoded as escapes.

    Args:
        *values: Values to print, separated by spaces.
        file: The stream; None uses the standard output.
    """
    stream = sys.stdout if file is None else file
    print(encodable(printable(" ".join(map(str, values))), raw_stream(stream)), file=stream)


def print_generated(text: str) -> None:
    """Prints generated text: escaped for a terminal, and unchanged to a file or a pipe.

    Characters that the output cannot encode are escaped in both cases.
    """
    if sys.stdout.isatty():
        print_text(text)
    else:
        stream = raw_stream(sys.stdout)
        print(encodable(text, stream), file=stream, flush=True)
