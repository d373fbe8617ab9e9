"""Writes synthetic records of a task, for machines without its data.

  highnoon data synthesize bash_command --count 5000 --output synthetic_bash_command.jsonl
  highnoon data synthesize --list

The records train and test every part of a curriculum, and say nothing about the published data: figures on
them are labeled synthetic. A run reads the file as `task:bash_command:synthetic_bash_command.jsonl`, or the
same records without a file as `synthetic:bash_command`.
"""

from __future__ import annotations

import argparse
import json
import pathlib

from highnoon.config import require_count, require_path

SUMMARY = "write synthetic records of a task"
_MOST_RECORDS = 10_000_000


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", nargs="?", metavar="TASK", help="name of the task, see --list")
    parser.add_argument("--list", action="store_true", help="print the tasks")
    parser.add_argument(
        "--count", type=int, default=10_000, metavar="N", help="number of records (default: %(default)s)"
    )
    parser.add_argument("--output", metavar="FILE", help="new file, synthetic*.jsonl")
    parser.add_argument("--seed", type=int, default=42, help="seed of the generator (default: %(default)s)")


def run(arguments: argparse.Namespace) -> None:
    from highnoon.data.tasks import task_definition, task_names
    from highnoon.data.tasks.synthetic_records import SyntheticRecords
    from highnoon.files.name_path import name_path

    if arguments.list:
        print("\n".join(task_names()))
        return
    if arguments.task is None or arguments.output is None:
        raise ValueError("`highnoon data synthesize` needs a TASK and --output FILE, or --list")
    count = require_count("--count", arguments.count, most=_MOST_RECORDS)
    definition = task_definition(arguments.task)
    path = pathlib.Path(require_path("--output", arguments.output))
    if not path.name.startswith("synthetic") or path.suffix != ".jsonl":
        raise ValueError(
            f"--output must be named synthetic*.jsonl, so that nobody takes its records for published data; "
            f"received {path.name}; try synthetic_{arguments.task}.jsonl"
        )
    if path.exists():
        raise ValueError(f"{path} exists already; give --output another name, or remove it")
    records = SyntheticRecords(definition, count, arguments.seed)
    # A command that was killed leaves no file that looks complete.
    unfinished = path.with_name(f".{path.name}.unfinished")
    with name_path(path), unfinished.open("w", encoding="utf-8") as stream:
        for record in records.records():
            stream.write(json.dumps(record, ensure_ascii=False) + "\n")
    unfinished.replace(path)
    print(f"{path}: {count:,} synthetic records of {arguments.task}")
    print(f"\nNext:\n  use it as the dataset task:{arguments.task}:{path}")
