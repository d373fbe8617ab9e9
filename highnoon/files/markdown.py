"""Text from other sources as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from highnoon.files.printable import printable

_MARKS = re.compile(r"([\\`*_{}\[\]<>#|!~])")


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table whose cells are shown literally."""
    lines = [head, ["---"] * len(head), *([_literal(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def markdown_code(text: str) -> str:
    """Returns a text as an indented block, which is shown as it is."""
    return "\n".join(f"    {line}" for line in printable(text).splitlines() or [""])


def _literal(text: str) -> str:
    return _MARKS.sub(r"\\\1", " ".join(printable(text).split()))
