"""Printed text cannot steer a terminal."""

from __future__ import annotations

from highnoon.files.printable import printable


def test_control_characters_are_written_as_escapes():
    assert printable("a\x1b[2Jb\x07c\x9bd\re\u202ef\x7f") == r"a\x1b[2Jb\x07c\x9bd\re\u202ef\x7f"


def test_ordinary_text_newlines_and_tabs_stay():
    text = "Zoë\twrites 日本語\nand 👩‍🚀 flies"
    assert printable(text) == text
