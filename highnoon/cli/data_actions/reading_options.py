"""The options of `highnoon data` that say how text and records are read."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from highnoon.cli.data_dir_option import add_data_dir_option
from highnoon.config import ConfigError
from highnoon.files.foreign import read_text

if TYPE_CHECKING:
    from highnoon.data import DocumentSource

READING_OPTIONS = (
    "data_dir",
    "split",
    "skip_bad",
    "domains",
    "text_field",
    "template",
    "learned_fields",
    "kind",
    "chat_template",
    "max_line_bytes",
    "encoding",
)
MAX_TEMPLATE_BYTES = 2**20


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    add_data_dir_option(parser)
    parser.add_argument("--text-field", metavar="FIELD", help="the field of a record that contains its text")
    parser.add_argument("--template", metavar="TEXT", help="text with fields of a record in braces")
    parser.add_argument("--learned-fields", metavar="A,B", help="fields of --template that are supervised")
    parser.add_argument("--kind", metavar="KIND", help="kind of records: text, chat, instruction, preference")
    parser.add_argument("--chat-template", metavar="FILE", help="Jinja template of conversations")
    parser.add_argument("--max-line-bytes", type=int, metavar="N", help="longest line that is read")
    parser.add_argument(
        "--encoding", metavar="NAME", help="encoding of files that are not UTF-8, such as cp1252 or utf-16"
    )
    parser.add_argument(
        "--skip-bad", action="store_true", help="skip records that cannot be read, and count them"
    )
    parser.add_argument(
        "--split", metavar="HOW", help="how text files are split: auto, file, line, blank-line"
    )
    parser.add_argument("--domains", metavar="A,B", help="read these domains only")


def listed(names: str) -> list[str]:
    """Returns the names between the commas."""
    return [name.strip() for name in names.split(",") if name.strip()]


def given_reading_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the options that were given."""
    values = {option: getattr(arguments, option) for option in READING_OPTIONS}
    return {option: value for option, value in values.items() if value is not None and value is not False}


def open_with_options(name: str, arguments: argparse.Namespace) -> DocumentSource:
    """Opens a source with the options of reading.

    Raises:
        ConfigError: If --domains or --learned-fields has no name.
        DataError: As for `open_source`.
        ForeignDataError: If the file of --chat-template is not text, or larger than 1 MiB.
        OSError: If the file of --chat-template cannot be read.
    """
    from highnoon.data import open_source

    options: dict[str, Any] = given_reading_options(arguments)
    for option in ("domains", "learned_fields"):
        if option in options:
            options[option] = listed(options[option])
            if not options[option]:
                raise ConfigError(f"--{option.replace('_', '-')} must name at least one; received none")
    if "chat_template" in options:
        options["chat_template"] = read_text(options["chat_template"], max_bytes=MAX_TEMPLATE_BYTES)
    if not getattr(arguments, "no_check_ids", True):
        options["check_ids"] = True
    return open_source(name, **options)
