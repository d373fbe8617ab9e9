"""Tokenizes text once, and shows what it contains.

  highnoon data prepare my_texts/ --output prepared/ --vocab-size 8192
  highnoon data inspect prepared/ --documents 3
  highnoon data stats my_texts/
  highnoon data contamination my_texts/ --against benchmark.jsonl
  highnoon data replay runs/first --step 1200

Run the same command again to resume a preparation that was stopped or killed.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from highnoon.cli.data_actions import contamination, prepare, replay
from highnoon.cli.data_actions.reading_options import (
    add_reading_options,
    given_reading_options,
    open_with_options,
)
from highnoon.config import require_count, require_path

SUMMARY = "tokenize text into a folder, and inspect it"

ACTIONS: dict[str, Any] = {
    "prepare": prepare,
    "contamination": contamination,
    "replay": replay,
}


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    inspect = actions.add_parser("inspect", help="show a prepared folder and documents of it")
    inspect.add_argument("folder", metavar="DIR")
    inspect.add_argument(
        "--documents",
        type=int,
        default=2,
        metavar="K",
        help="documents to show, with text that is not supervised in brackets (default: %(default)s)",
    )
    stats = actions.add_parser("stats", help="count documents, bytes, tokens, domains and duplicates")
    stats.add_argument("source", metavar="DIR|SOURCE", help="a prepared folder, or a source as for `prepare`")
    stats.add_argument("--json", action="store_true", help="print JSON")
    add_reading_options(stats)
    for name, action in ACTIONS.items():
        parser = actions.add_parser(
            name,
            help=action.SUMMARY,
            description=action.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        action.configure(parser)


def run(arguments: argparse.Namespace) -> int | None:
    if arguments.action in ACTIONS:
        return ACTIONS[arguments.action].run(arguments)
    {"inspect": run_inspect, "stats": run_stats}[arguments.action](arguments)
    return None


def run_inspect(arguments: argparse.Namespace) -> None:
    from highnoon.data import TokenStore
    from highnoon.data.bad_records import describe_left_out
    from highnoon.files.terminal_console import TerminalConsole

    require_count("--documents", arguments.documents, least=0)
    require_path("DIR", arguments.folder)
    store = TokenStore.open(arguments.folder)
    manifest = store.manifest
    held_out = int(store.is_validation.sum())
    facts = {
        "source": manifest["source"],
        "key": manifest["key"],
        "format": manifest["version"],
        "tokenizer": manifest["tokenizer"],
        "documents": f"{len(store):,}, {held_out:,} held out ({store.validation_split:.0%} requested)",
        "tokens": f"{int(store.offsets[-1]):,} of {manifest['token_type']}",
        "domains": ", ".join(store.domain_names),
        "size": f"{sum(manifest['sizes'].values()) / 1e6:,.1f} MB",
        "supervised": "all tokens" if store.all_supervised is None else "the tokens that learned.bin marks",
    }
    if "left_out" in manifest:
        facts["skipped"] = describe_left_out(manifest["left_out"])
    for name, value in facts.items():
        print(f"{name:10} {value}")
    console = TerminalConsole()
    for number in range(min(arguments.documents, len(store))):
        side = "held out" if store.is_validation[number] else "train"
        console.print(
            f"\n--- document {number}, {store.domain(number)}, {side}, {int(store.lengths[number]):,} tokens"
        )
        console.print(marked_text(store, number), soft_wrap=True)


def marked_text(store: Any, document: int, most_characters: int = 2000) -> str:
    """Returns a document's text, truncated, with text that is not supervised in ⟦brackets⟧."""
    from highnoon.data.sources.prepared_tokens import stored_text

    text, spans, _ = stored_text(store, document)
    marked, position = "", 0
    for begin, end in ((0, len(text)),) if spans is None else spans:
        marked += (f"⟦{text[position:begin]}⟧" if position < begin else "") + text[begin:end]
        position = end
    marked += f"⟦{text[position:]}⟧" if position < len(text) else ""
    return marked if len(marked) <= most_characters else f"{marked[:most_characters]} ..."


def run_stats(arguments: argparse.Namespace) -> None:
    from highnoon.data import TokenStore
    from highnoon.data.bad_records import describe_left_out, left_out
    from highnoon.data.sources.prepared_tokens import is_prepared
    from highnoon.data.tokens.statistics import source_statistics, store_statistics

    if is_prepared(arguments.source):
        if given := list(given_reading_options(arguments)):
            raise ValueError(
                f"{arguments.source} is already prepared, and --{given[0].replace('_', '-')} is "
                f"for reading text; leave it out"
            )
        store = TokenStore.open(arguments.source)
        figures, missing = store_statistics(store), store.manifest.get("left_out", {})
    else:
        source = open_with_options(arguments.source, arguments)
        figures = source_statistics(source)
        missing = left_out(source)
    if arguments.json:
        print(json.dumps(figures.as_dict() | ({"left_out": missing} if missing else {})))
    else:
        from highnoon.cli.data_actions.tables import print_statistics

        print_statistics(figures)
        if missing:
            print(describe_left_out(missing))
