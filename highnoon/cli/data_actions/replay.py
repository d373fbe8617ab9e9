"""Shows the rows that a step of a run was trained on.

  highnoon data replay runs/first --step 1200
  highnoon data replay runs/first --step 1200 --rows 2 --json

A row is shown piece by piece: the dataset and the domain of the document, the file and the line or record
that it was read from, its text, and below it the supervised part of the text, unless that is all of it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING

from highnoon.cli.process.quiet_start import load_tensorflow
from highnoon.config import require_count, require_path

if TYPE_CHECKING:
    from highnoon.training.runs.replay import ReplayedPiece, ReplayedStep

SUMMARY = "show the rows of a step of a run"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", metavar="RUN", help="a run's output folder, or a checkpoint of it")
    parser.add_argument("--step", type=int, required=True, metavar="N", help="optimizer step, from 1")
    parser.add_argument("--rows", type=int, metavar="K", help="show only the first K rows")
    parser.add_argument("--data_dir", "--data-dir", metavar="DIR", help="folder of the data, if it was moved")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> None:
    require_count("--step", arguments.step)
    if arguments.rows is not None:
        require_count("--rows", arguments.rows)
    require_path("RUN", arguments.run_folder)
    load_tensorflow()
    from highnoon.training.runs.replay import Replay

    shown = Replay(arguments.run_folder, arguments.data_dir).step(arguments.step)
    rows = shown.rows[: arguments.rows]
    if arguments.json:
        position = {key: getattr(shown, key) for key in ("step", "stage", "epoch", "step_in_epoch")}
        print(
            json.dumps(position | {"rows": [[dataclasses.asdict(p) for p in row] for row in rows]}, indent=1)
        )
        return
    print_step(shown, rows)


def print_step(shown: ReplayedStep, rows: list[list[ReplayedPiece]]) -> None:
    supervised = int((shown.batch["loss_weights"] > 0).sum())
    print(
        f"step {shown.step}: stage `{shown.stage}`, epoch {shown.epoch + 1}, step {shown.step_in_epoch + 1}; "
        f"{len(shown.rows)} rows of {shown.batch['token_ids'].shape[1]} tokens, {supervised:,} supervised"
    )
    for number, row in enumerate(rows, start=1):
        print(f"\n--- row {number} of {len(shown.rows)}")
        for piece in row:
            origin = "/".join(word for word in (piece.dataset, piece.domain) if word)
            read_from = piece.origin or "file and record not recorded"
            print(
                f"[{origin}, document {piece.document}, {read_from}, {piece.num_tokens} tokens]\n{piece.text}"
            )
            if piece.num_learned < piece.num_tokens - 1:
                print(f"  supervised ({piece.num_learned} tokens): {piece.learned!r}")
