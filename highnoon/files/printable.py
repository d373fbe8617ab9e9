"""Text from data, names and messages, made safe to print to a terminal."""

from __future__ import annotations

import re

# C0 and C1 control characters, DEL, the marks that change the direction of text, and halves of surrogate
# pairs, which no stream can encode.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Returns `text` with every control character but newline and tab written as an escape such as `\\x1b`.

    A terminal obeys control sequences: text of a data set could otherwise change the title of the window or
    rewrite lines that were printed before.

    Example:

    ```python
    from highnoon.files.printable import printable

    assert printable("red: \\x1b[31m") == "red: \\\\x1b[31m"
    ```
    """
    return _UNSAFE.sub(lambda match: match.group().encode("unicode_escape").decode("ascii"), text)
