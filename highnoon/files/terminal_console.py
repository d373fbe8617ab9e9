"""A rich console that shows names and values of others as they are."""

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
    """Returns a value as rich's text, safe for any console and of the width that it is printed with."""
    return Text(printable(str(value)), style=style)


class TerminalConsole(Console):
    """A `rich.console.Console` for text from outside: no markup, no emoji codes, no control characters.

    `[red]x[/]` is printed as these characters, the escape character as `\\x1b`, and a character that the
    stream's encoding has not as its escape. Control sequences reach the terminal from rich alone.

    Args:
        **options: As of `Console`.
    """

    def __init__(self, **options: Any) -> None:
        if options.get("file") is None and not options.get("stderr"):
            options["file"] = sys.stdout
        if options.get("file") is not None:
            options["file"] = raw_stream(options["file"])
        super().__init__(**{"highlight": False, "markup": False, "emoji": False, **options})

    def render_str(self, text: str, **options: Any) -> Text:
        # Before it is measured, so that columns fit.
        return super().render_str(self._safe(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=self._safe(segment.text))

    def _safe(self, text: str) -> str:
        text = printable(text)
        return text if text.isascii() else encodable(text, self.file)
