"""Shows what a checkpoint, a directory of checkpoints, a saved model or an adapter holds; or how two differ.

  highnoon inspect my-run/checkpoints
  highnoon inspect my-run/checkpoints/best
  highnoon inspect my-run/checkpoints/latest my-run/checkpoints/best
  highnoon inspect my-run/model --json
  highnoon inspect tuned/adapter

Every file is compared with the hashes in its checkpoint's manifest: a damaged folder is shown with the
damage. With two paths, a directory of checkpoints stands for its highest step. Files are only read.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
from typing import TYPE_CHECKING, Any

from highnoon.config import require_path

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from highnoon.training.checkpoints.checkpoint_differences import ArrayDifferences, CheckpointDifferences
    from highnoon.training.checkpoints.inspection import ArrayTotals, CheckpointFacts

SUMMARY = "show a checkpoint, or how two of them differ"
_PLAIN_WIDTH = 110


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path",
        metavar="PATH",
        help="checkpoint, directory of checkpoints, its latest, best, final or interrupted, or saved model",
    )
    parser.add_argument("other", metavar="OTHER", nargs="?", help="compare PATH with this one")
    parser.add_argument(
        "--json", action="store_true", help="print JSON: an object, or a list for a directory"
    )


def run(arguments: argparse.Namespace) -> None:
    from highnoon.training.checkpoints.inspection import find_folders, inspect_folder

    for path in (arguments.path, arguments.other):
        if path is not None:
            require_path("PATH", path)
    folders = find_folders(arguments.path)
    if arguments.other is not None:
        _compare(folders[-1], find_folders(arguments.other)[-1], arguments.json)
        return
    is_directory = pathlib.Path(arguments.path).is_dir() and pathlib.Path(arguments.path) not in folders
    facts = [inspect_folder(folder) for folder in folders]
    if arguments.json:
        values = [dataclasses.asdict(fact) for fact in facts]
        print(json.dumps(values if is_directory else values[0], indent=2))
    else:
        _console().print(_directory_table(facts) if is_directory else _facts_table(facts[0]))


def _compare(one: pathlib.Path, other: pathlib.Path, is_json: bool) -> None:
    from highnoon.training.checkpoints.checkpoint_differences import compare_folders

    differences = compare_folders(one, other)
    if is_json:
        print(json.dumps(dataclasses.asdict(differences), indent=2))
    else:
        _print_differences(differences, _console())


def _console() -> Console:
    from highnoon.files.terminal_console import TerminalConsole

    console = TerminalConsole()
    if not console.is_terminal:
        console.width = _PLAIN_WIDTH
    return console


def _directory_table(facts: list[CheckpointFacts]) -> Table:
    table = _table(
        "folder", "stage", "complete epochs", "training loss", "held-out loss", "roles", "run", "state"
    )
    for fact in facts:
        table.add_row(
            pathlib.Path(fact.folder).name,
            _stage(fact),
            _epoch(fact),
            _decimal(fact.train_loss),
            _decimal(fact.val_loss),
            ", ".join(fact.roles),
            _run(fact) or "-",
            f"damaged: {fact.damage}" if fact.damage else "complete",
        )
    return table


def _facts_table(fact: CheckpointFacts) -> Table:
    table = _table("", "")
    table.show_header = False
    rate = None if fact.peak_learning_rate is None else f"{fact.peak_learning_rate:g} at its peak"
    factor = fact.learning_rate_factor
    if rate and factor not in (None, 1.0):
        rate += f", times {factor:g} after faults"
    rows = {
        "folder": fact.folder,
        "state": f"damaged: {fact.damage}" if fact.damage else "complete",
        "roles": ", ".join(fact.roles),
        "run": _run(fact),
        "step": None if fact.step is None else f"{fact.step:,} of {_count(fact.total_steps)}",
        "stage": _stage(fact) if fact.stage_number else None,
        "position in the stage": _position(fact),
        "tokens in complete epochs": None if fact.tokens_seen is None else f"{fact.tokens_seen:,.0f}",
        "adapter of": fact.base,
        "LoRA": _lora(fact),
        "weights": _size(fact.weights),
        "optimizer": fact.optimizer,
        "optimizer state": _size(fact.slots),
        "averaged weights": _size(fact.averages),
        "learning rate": None if rate is None else f"{rate}, {fact.schedule}",
        "training loss": _nats(fact.train_loss),
        "held-out loss": _nats(fact.val_loss),
        "lowest held-out loss": _nats(fact.lowest_val_loss),
        "versions": ", ".join(f"{name} {version}" for name, version in fact.versions.items()),
    }
    for name, value in rows.items():
        if value:
            table.add_row(name, value)
    return table


def _print_differences(differences: CheckpointDifferences, console: Console) -> None:
    console.print(f"one    {differences.one}\nother  {differences.other}\n")
    if differences.fields:
        table = _table("what", "field", "one", "other")
        for field in differences.fields:
            table.add_row(field.group, field.key, _value(field.one), _value(field.other))
        console.print(table)
    else:
        console.print("configuration, plan and progress are equal")
    for arrays in differences.arrays:
        console.print(f"\n{arrays.group}: {_summary(arrays)}")
        if arrays.largest:
            table = _table("changed most", "relative change")
            for change in arrays.largest:
                norm = change.relative_norm
                table.add_row(change.name, "from zeros, or not finite" if norm is None else f"{norm:.3g}")
            console.print(table)


def _summary(arrays: ArrayDifferences) -> str:
    if arrays.problem:
        return arrays.problem
    if arrays.is_identical:
        return f"all {arrays.num_compared} arrays are bit-identical"
    parts = [f"{arrays.num_changed} of {arrays.num_compared} arrays differ"]
    for names, where in ((arrays.only_in_one, "one"), (arrays.only_in_other, "other")):
        if names:
            parts.append(f"only in {where}: {', '.join(names)}")
    parts += [f"{name} is {one} in one and {other} in other" for name, one, other in arrays.reshaped]
    return "; ".join(parts)


def _table(*columns: str) -> Table:
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(box=SIMPLE, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _stage(fact: CheckpointFacts) -> str:
    if fact.stage_number is None:
        return "-"
    if fact.stage is None:
        return "the run is complete"
    return f"{fact.stage} ({fact.stage_number} of {fact.num_stages})"


def _run(fact: CheckpointFacts) -> str | None:
    return fact.run_id if fact.run_name is None else f"{fact.run_name} ({fact.run_id})"


def _epoch(fact: CheckpointFacts) -> str:
    if fact.epoch is None:
        return "-"
    return f"{fact.epoch}" if fact.num_epochs is None else f"{fact.epoch} of {fact.num_epochs}"


def _position(fact: CheckpointFacts) -> str | None:
    if fact.epoch is None:
        return None
    position = f"step {_count(fact.stage_step)} of {_count(fact.stage_steps)}; epochs complete {_epoch(fact)}"
    return f"{position}, {_count(fact.step_in_epoch)} steps into the next" if fact.step_in_epoch else position


def _lora(fact: CheckpointFacts) -> str | None:
    if fact.lora_rank is None:
        return None
    layers = "" if fact.num_lora_layers is None else f" on {fact.num_lora_layers} layers"
    return f"factors of rank {fact.lora_rank}{layers}"


def _size(totals: ArrayTotals | None) -> str | None:
    if totals is None:
        return None
    return f"{totals.num_values:,} numbers in {totals.num_arrays} arrays, {totals.num_bytes / 2**20:,.2f} MiB"


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _decimal(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _nats(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f} nats a token"


def _value(value: Any) -> str:
    return "-" if value is None else f"{value}"
