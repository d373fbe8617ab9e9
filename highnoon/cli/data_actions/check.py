"""Reads all data and lists everything in it that cannot be used.

  highnoon data check my_texts/
  highnoon data check records.jsonl notes.csv --text-field body --report bad.jsonl

Each bad record is shown with its file and line, counted by kind; --report writes all of them as JSON lines.
The exit code is 1 if there are any.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import pathlib
import shlex
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from highnoon.cli.data_actions.reading_options import (
    add_reading_options,
    given_reading_options,
    open_with_options,
)
from highnoon.config import require_count, require_path
from highnoon.files.expand_home import expand_home
from highnoon.files.name_path import name_path
from highnoon.files.print_text import print_text

if TYPE_CHECKING:
    from highnoon.data.sources.data_check import DataCheck, Problem

SUMMARY = "list all records that cannot be used"
DEFAULT_SHOWN = 20


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sources", nargs="+", metavar="PATH", help="files, folders, globs, dataset names")
    parser.add_argument(
        "--show",
        type=int,
        default=DEFAULT_SHOWN,
        metavar="N",
        help="most problems to show of each source (default: %(default)s)",
    )
    parser.add_argument("--report", metavar="FILE", help="write all problems to FILE as JSON lines")
    parser.add_argument(
        "--no-check-ids", action="store_true", help="accept several records with the same `id`"
    )
    add_reading_options(parser)


def run(arguments: argparse.Namespace) -> int:
    from highnoon.data.sources.data_check import check_data

    require_count("--show", arguments.show, least=0)
    report = None if arguments.report is None else expand_home(require_path("--report", arguments.report))
    arguments.skip_bad = True
    checks: list[DataCheck] = []
    with _writer(report) as write:
        for name in arguments.sources:
            shown: list[str] = []
            seen: set[str] = set()

            def listen(problem: Problem, shown: list[str] = shown, seen: set[str] = seen) -> None:
                write(problem)
                if problem.is_bad and len(shown) < arguments.show:
                    # The same message at another line says nothing new.
                    what = problem.message.partition(": ")[2]
                    if what not in seen:
                        shown.append(problem.message)
                    seen.add(what)

            checks.append(check_data(open_with_options(name, arguments), listen))
            print_check(checks[-1], shown)
    num_bad = sum(check.num_bad for check in checks)
    if report is not None:
        print(f"all problems are in {report}")
    print_next(arguments, checks)
    return int(num_bad > 0 or not all(check.documents for check in checks))


@contextlib.contextmanager
def _writer(report: pathlib.Path | None) -> Iterator[Callable[[Problem], None]]:
    """Yields the function that writes a problem to the report."""
    if report is None:
        yield lambda problem: None
        return
    with name_path(report), report.open("w", encoding="utf-8") as stream:

        def write(problem: Problem) -> None:
            stream.write(json.dumps(dataclasses.asdict(problem), ensure_ascii=False) + "\n")

        yield write


def print_check(check: DataCheck, shown: list[str]) -> None:
    """Prints what a check found: figures, counts of each kind, and the first problems."""
    print_text(
        f"{check.name}: {check.num_bad:,} bad, {check.documents:,} documents of {check.num_bytes:,} bytes, "
        f"{check.duplicates:,} duplicates"
    )
    if check.documents:
        print_text(f"  the longest has {check.longest:,} bytes: {check.longest_at}")
    for kind, count in sorted(check.counts.items(), key=lambda item: -item[1]):
        print_text(f"  {count:>8,}  {kind}")
    for message in shown:
        print_text(f"  {message}")
    if check.num_bad > len(shown):
        print_text(f"  and {check.num_bad - len(shown):,} more; --report FILE.jsonl writes all of them")
    for file, advice in check.encodings.items():
        if not any(file in message and advice in message for message in shown):
            print_text(f"  {file}: {advice}")


def print_next(arguments: argparse.Namespace, checks: list[DataCheck]) -> None:
    """Prints the next command, with the options of this one."""
    words = list(arguments.sources)
    for option, value in given_reading_options(arguments).items():
        if option != "skip_bad":
            words += [f"--{option.replace('_', '-')}", str(value)]
    advice = next((advice for check in checks for advice in check.encodings.values()), None)
    if advice is not None and arguments.encoding is None and "--encoding " in advice:
        encoding = advice.partition("--encoding ")[2].partition(")")[0]
        print(f"\nNext:\n  highnoon data check {shlex.join([*words, '--encoding', encoding])}")
        return
    if not all(check.documents for check in checks):
        print("\nNothing can be used yet: fix the data, or name its fields with --text-field or --template.")
        return
    skip = " --skip-bad" if any(check.num_bad for check in checks) else ""
    print(f"\nNext:\n  highnoon data prepare {shlex.join(words)} --output prepared{skip}")
