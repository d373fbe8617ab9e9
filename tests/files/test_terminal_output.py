"""What others wrote reaches a terminal as text alone, whatever prints it."""

from __future__ import annotations

import io
import sys

import pytest
from rich.live import Live
from rich.progress import Progress, TextColumn
from rich.table import Table
from rich.text import Text

from highnoon.files.print_text import print_generated, print_text
from highnoon.files.printable_stream import PrintableStream, printable_output, raw_stream
from highnoon.files.terminal_console import TerminalConsole

HOSTILE = "\x1b]0;title\x07[red]x[/] \x9b2J :smile: [link=http://a]b[/link] \ud800 \r\x08"
SHOWN = r"\x1b]0;title\x07[red]x[/] \x9b2J :smile: [link=http://a]b[/link] \ud800 \r\x08"


class Terminal(io.TextIOWrapper):
    """A terminal of an encoding, which notes what reaches it."""

    def __init__(self, encoding: str = "utf-8") -> None:
        self.bytes = io.BytesIO()
        super().__init__(self.bytes, encoding=encoding, errors="strict", write_through=True)

    def isatty(self) -> bool:
        return True

    @property
    def text(self) -> str:
        return self.bytes.getvalue().decode("utf-8")


def test_a_console_prints_names_as_they_are_in_text_tables_and_live_displays():
    terminal = Terminal()
    console = TerminalConsole(file=terminal, force_terminal=False, width=200)
    table = Table(HOSTILE, title=HOSTILE)
    table.add_row(HOSTILE)
    table.add_row(Text(HOSTILE))
    for shown in (HOSTILE, Text(HOSTILE), table):
        console.print(shown)
    assert terminal.text.count(r"\x1b]0;title") == 6
    assert not {"\x1b", "\x07", "\x9b", "\r", "\x08"} & set(terminal.text)
    assert terminal.text.count("[red]x[/]") == 6 and terminal.text.count(":smile:") == 6


def test_control_sequences_of_a_live_display_are_richs_own():
    terminal = Terminal()
    console = TerminalConsole(file=terminal, force_terminal=True, width=200, color_system="standard")
    with Live(Table(HOSTILE), console=console, auto_refresh=False, redirect_stdout=False) as live:
        live.refresh()
    column = TextColumn("{task.description}", markup=False)
    with Progress(column, console=console, redirect_stdout=False) as bar:
        bar.add_task(HOSTILE, total=1)
    assert "\x1b[" in terminal.text  # rich moves the cursor
    assert "\x1b]0" not in terminal.text and "\x07" not in terminal.text and "[red]x[/]" in terminal.text


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_no_character_is_too_much_for_the_encoding(encoding, monkeypatch):
    terminal = Terminal(encoding)
    monkeypatch.setattr(sys, "stdout", terminal)
    text = "Zoë 日本語 \udc80 👩‍🚀"
    print_text(text)
    print_generated(text)
    TerminalConsole(width=80).print(text, Text(text))
    with printable_output():
        print(text)
    assert rb"\udc80" in terminal.bytes.getvalue()


def test_plain_prints_of_a_command_are_escaped_and_the_stream_is_given_back(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    with printable_output():
        print(HOSTILE, end="", flush=True)
        sys.stdout.writelines(["\x1b\n", "\x7f"])
        assert sys.stdout.isatty() and raw_stream(sys.stdout) is terminal
    assert sys.stdout is terminal
    assert terminal.text == SHOWN + "\\x1b\n\\u007f"


def test_generated_text_is_escaped_for_a_terminal_and_raw_for_a_pipe(monkeypatch):
    for stream, expected in ((Terminal(), "a\\x1b[2J\tb\nc\n"), (io.StringIO(), "a\x1b[2J\tb\nc\n")):
        monkeypatch.setattr(sys, "stdout", PrintableStream(stream))
        print_generated("a\x1b[2J\tb\nc")
        assert (stream.text if isinstance(stream, Terminal) else stream.getvalue()) == expected
