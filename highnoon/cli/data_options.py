"""The options that say which text a run reads, and how: of `highnoon train` and `highnoon evaluate`."""

from __future__ import annotations

import argparse
from typing import Any

from highnoon.cli.data_actions.reading_options import MAX_TEMPLATE_BYTES, listed
from highnoon.config import ConfigError
from highnoon.files.foreign import read_text
from highnoon.files.nearest_name import nearest_name

KIND_WORDS = {
    "conversations": "chat",
    "conversation": "chat",
    "messages": "chat",
    "instructions": "instruction",
    "completion": "instruction",
    "completions": "instruction",
    "prompt-completion": "instruction",
    "preferences": "preference",
    "texts": "text",
}
"""Words of other tools for the kinds of records."""
KINDS = sorted(set(KIND_WORDS.values()))
"""The kinds of `highnoon.data.records`, which costs NumPy to import."""
DATA_OPTIONS = (
    "domains",
    "skip_bad",
    "documents",
    "kind",
    "text_field",
    "template",
    "learned_fields",
    "chat_template",
    "encoding",
    "split",
    "max_line_bytes",
)
"""Options of `open_source` that belong to `--data`."""
_OPTIONS_OF_RECORDS = ("kind", "text_field", "template", "chat_template")


def add_data_options(parser: argparse.ArgumentParser, help: str) -> None:
    """Adds `--data` and the options of reading it."""
    parser.add_argument("--data", nargs="+", metavar="PATH", help=help)
    group = parser.add_argument_group("reading --data")
    group.add_argument(
        "--domains",
        nargs="+",
        metavar="NAME",
        help="sub-folders of --data to read, separated by spaces or commas",
    )
    group.add_argument(
        "--skip-bad", action="store_true", help="skip records of --data that cannot be read, and count them"
    )
    group.add_argument(
        "--documents",
        type=int,
        metavar="N",
        help="read the first N documents of --data, a prepared folder; an unfinished one has N ready",
    )
    group.add_argument(
        "--kind",
        metavar="KIND",
        help=f"what every record of --data is: {', '.join(KINDS)}; default: by its fields. Of conversations "
        "and instructions the answers alone are supervised",
    )
    group.add_argument("--text-field", metavar="NAME", help="field of --data's records that holds the text")
    group.add_argument("--template", metavar="TEXT", help="text with fields of a record in braces")
    group.add_argument("--learned-fields", metavar="A,B", help="fields of --template that are supervised")
    group.add_argument("--chat-template", metavar="FILE", help="Jinja template of conversations")
    group.add_argument(
        "--encoding", metavar="NAME", help="encoding of --data that is not UTF-8, such as cp1252 or utf-16"
    )
    group.add_argument(
        "--split", metavar="HOW", help="how text files are split: auto, file, line, blank-line"
    )
    group.add_argument("--max-line-bytes", type=int, metavar="N", help="longest line that is read")


def dataset_entries(arguments: argparse.Namespace, *, in_model_template: bool) -> list[Any]:
    """Returns the names of `--data`, with the options of reading that were given.

    Args:
        arguments: Of the command line.
        in_model_template: Whether conversations are written in the template of the model's tokenizer where
            no other is given.

    Raises:
        ConfigError: a kind that is none, or two options that contradict each other.
        ForeignDataError: the file of `--chat-template` is not text.
        OSError: it cannot be read.
    """
    options: dict[str, Any] = given_data_options(arguments)
    if "kind" in options:
        options["kind"] = _kind(options["kind"])
        if "text_field" in options and options["kind"] != "text":
            raise ConfigError(
                f"--text-field makes a record plain text, and --kind says {arguments.kind}; give one of them"
            )
    if "domains" in options:
        options["domains"] = listed(",".join(options["domains"]))
    if "learned_fields" in options:
        options["learned_fields"] = listed(options["learned_fields"])
    if "chat_template" in options:
        options["chat_template"] = read_text(options["chat_template"], max_bytes=MAX_TEMPLATE_BYTES)
    is_text = options.get("kind") == "text" or "text_field" in options or "template" in options
    if in_model_template and not is_text:
        options.setdefault("chat_template", "model")
    return [{"name": name, **options} if options else name for name in arguments.data]


def given_data_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the options of reading that were given, as they stand on the command line."""
    values = {name: getattr(arguments, name) for name in DATA_OPTIONS}
    return {name: value for name, value in values.items() if value is not None and value is not False}


def data_words(arguments: argparse.Namespace) -> list[str]:
    """Returns the words of a command line that read the same `--data` in the same way."""
    words = list(arguments.data)
    for name, value in given_data_options(arguments).items():
        words.append(f"--{name.replace('_', '-')}")
        if isinstance(value, list):
            words += value
        elif value is not True:
            words.append(str(value))
    return words


def _kind(word: str) -> str:
    kind = KIND_WORDS.get(word.lower(), word.lower())
    if kind not in KINDS:
        near = nearest_name(word, [*KINDS, *KIND_WORDS])
        hint = f" (did you mean {near!r}?)" if near is not None else ""
        raise ConfigError(f"--kind must be one of {', '.join(KINDS)}; received {word!r}{hint}")
    return kind
