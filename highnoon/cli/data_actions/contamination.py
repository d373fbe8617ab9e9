"""Searches training text for benchmark examples and held-out documents.

  highnoon data contamination my_texts/ --against gsm8k_test.jsonl humaneval.jsonl

Two texts overlap if they have 13 consecutive words in common. The exit code is 1 if any overlap was found.
"""

from __future__ import annotations

import argparse
import json

from highnoon.cli.data_dir_option import add_data_dir_option
from highnoon.config import MAX_SIZE, require_count, require_number

SUMMARY = "search training text for benchmarks"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("train", metavar="DATA", help="training data: a path or dataset name")
    parser.add_argument(
        "--against", nargs="+", default=(), metavar="FILE", help="benchmarks, one example a record"
    )
    parser.add_argument("--words", type=int, default=13, metavar="N", help="consecutive words (default: 13)")
    parser.add_argument(
        "--validation-split",
        type=float,
        default=0.1,
        metavar="S",
        help="fraction of documents that is held out and searched for too (default: 0.1)",
    )
    add_data_dir_option(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    from highnoon.data import open_source
    from highnoon.data.cleaning.contamination import find_contamination, report_contamination

    require_count("--words", arguments.words, least=2, most=MAX_SIZE)
    require_number("--validation-split", arguments.validation_split, least=0, below=1)
    find = find_contamination if arguments.json else report_contamination
    train, *others = (
        open_source(name, data_dir=arguments.data_dir) for name in (arguments.train, *arguments.against)
    )
    report = find(train, others, arguments.words, arguments.validation_split)
    if arguments.json:
        print(json.dumps(report, indent=1))
    return int(any(entry["contaminated"] for entry in report["benchmarks"]))
