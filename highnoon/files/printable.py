"""Escapes text from other sources for a terminal."""

from __future__ import annotations

import re

# C0 and C1 control characters, DEL, marks that change the direction of text, and lone surrogates, which
# cannot be encoded.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Returns `text` with every control character but newline and tab written as an escape such as `\\x1b`.

    A terminal executes control sequences: text from a dataset could otherwise change the window title or
    overwrite earlier lines.

    Example:

    ```python
    from highnoon.files.printable import printable

    assert printable("red: \\x1b[31m") == "red: \\\\x1b[31m"
    ```
    """
    return _UNSAFE.sub(lambda match: match.group().encode("unicode_escape").decode("ascii"), text)
