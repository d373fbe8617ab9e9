"""Looks for benchmark examples, and held-out documents, in the text that would be trained on.

  highnoon data contamination my_texts/ --against gsm8k_test.jsonl humaneval.jsonl

Two texts overlap where they share a run of 13 words. The exit code is 1 where something was found.
"""

from __future__ import annotations

import argparse
import json

from highnoon.config import MAX_SIZE, require_count, require_number

SUMMARY = "look for benchmarks in training text"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("train", metavar="DATA", help="what would be trained on: a path or dataset name")
    parser.add_argument(
        "--against", nargs="+", default=(), metavar="FILE", help="benchmarks, one example a row"
    )
    parser.add_argument("--words", type=int, default=13, metavar="N", help="words of a run (default: 13)")
    parser.add_argument(
        "--validation-split",
        type=float,
        default=0.1,
        metavar="S",
        help="share that is held out and looked for too; 0 for none (default: 0.1)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    from highnoon.data.cleaning.contamination import find_contamination, report_contamination

    require_count("--words", arguments.words, least=2, most=MAX_SIZE)
    require_number("--validation-split", arguments.validation_split, least=0, below=1)
    find = find_contamination if arguments.json else report_contamination
    report = find(arguments.train, arguments.against, arguments.words, arguments.validation_split)
    if arguments.json:
        print(json.dumps(report, indent=1))
    return int(any(entry["contaminated"] for entry in report["benchmarks"]))
