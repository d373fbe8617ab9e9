"""Checks and tokenizes text once, and shows what it contains.

  highnoon data check my_texts/
  highnoon data prepare my_texts/ --output prepared/ --vocab-size 8192
  highnoon data inspect chats.jsonl --documents 3
  highnoon data stats my_texts/
  highnoon data contamination my_texts/ --against benchmark.jsonl
  highnoon data replay runs/first --step 1200
  highnoon data synthesize bash_command --count 5000 --output synthetic_bash_command.jsonl

Run the same command again to resume a preparation that was stopped or killed.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from highnoon.cli.data_actions import check, contamination, inspect, prepare, replay, synthesize
from highnoon.cli.data_actions.reading_options import (
    add_reading_options,
    given_reading_options,
    open_with_options,
)

SUMMARY = "check text, tokenize it into a folder, and inspect it"

ACTIONS: dict[str, Any] = {
    "check": check,
    "prepare": prepare,
    "inspect": inspect,
    "contamination": contamination,
    "replay": replay,
    "synthesize": synthesize,
}


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    stats = actions.add_parser(
        "stats",
        help="count documents, bytes, tokens, domains and duplicates",
        description="Counts documents, bytes, tokens, domains and duplicates.\n\n"
        "  highnoon data stats my_texts/\n  highnoon data stats prepared/ --json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
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
    run_stats(arguments)
    return None


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
