"""Lists the presets: parameters, those that one token passes, and the memory to run and to train them.

To run: weights and the cache of one sequence of full length. To train: weights, gradients and the optimizer's
two moments; activations, which grow with the batch, come on top.
"""

from __future__ import annotations

import argparse
import json

from highnoon.cli.quiet_start import load_tensorflow

SUMMARY = "list the presets with their size and the memory they need"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the table as JSON, memory in bytes")


def run(arguments: argparse.Namespace) -> None:
    load_tensorflow()
    from highnoon.models.memory import available_memory, model_table

    table = model_table()
    if arguments.json:
        print(json.dumps([row._asdict() for row in table], indent=2))
        return
    print(f"{'preset':16}{'parameters':>16}{'active':>16}{'to run':>12}{'to train':>12}")
    for row in table:
        print(
            f"{row.name:16}{row.total:>16,}{row.active:>16,}"
            f"{_gib(row.bytes_to_run):>12}{_gib(row.bytes_to_train):>12}"
        )
    print(f"\nfree memory of this machine: {_gib(available_memory())}")


def _gib(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"
