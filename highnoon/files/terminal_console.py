"""A rich console for text from other sources."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from highnoon.files.printable import printable
from highnoon.files.printable_stream import encodable, raw_stream


def plain_text(value: object, style: str = "") -> Text:
    """Returns a value as rich text, escaped for any console."""
    return Text(printable(str(value)), style=style)


class TerminalConsole(Console):
    """A `rich.console.Console` for text from other sources: no markup, emoji codes or control characters.

    `[red]x[/]` is printed literally, the escape character as `\\x1b`, and a character that the stream cannot
    encode as its escape. Only rich itself sends control sequences to the terminal.

    Args:
        **options: Arguments of `Console`.
    """

    def __init__(self, **options: Any) -> None:
        if options.get("file") is None and not options.get("stderr"):
            options["file"] = sys.stdout
        if options.get("file") is not None:
            options["file"] = raw_stream(options["file"])
        super().__init__(**{"highlight": False, "markup": False, "emoji": False, **options})

    def render_str(self, text: str, **options: Any) -> Text:
        # Before it is measured, so that column widths are correct.
        return super().render_str(self._safe(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=self._safe(segment.text))

    def _safe(self, text: str) -> str:
        text = printable(text)
        return text if text.isascii() else encodable(text, self.file)
