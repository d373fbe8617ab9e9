"""Tables as HTML, for notebooks."""

from __future__ import annotations

import html
from collections.abc import Sequence

from highnoon.files.printable import printable


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> str:
    """Returns a table whose cells are shown literally.

    Args:
        head: Of each column; empty for a table without a head.
        rows: The cells.
        caption: A line above the table.
    """
    parts = [f"<caption>{_literal(caption)}</caption>"] if caption else []
    if head:
        cells = "".join(f"<th>{_literal(cell)}</th>" for cell in head)
        parts.append(f"<thead><tr>{cells}</tr></thead>")
    lines = ("".join(f"<td>{_literal(cell)}</td>" for cell in row) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table>{''.join(parts)}<tbody>{body}</tbody></table>"


def html_lines(lines: Sequence[str]) -> str:
    """Returns lines of text, each on its own."""
    return "".join(f"<div>{_literal(line)}</div>" for line in lines)


def _literal(text: str) -> str:
    return html.escape(printable(text))
