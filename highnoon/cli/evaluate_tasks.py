"""The figures of `highnoon evaluate --tasks`: answers of a model to held-out prompts of tasks."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from highnoon.cli.data_dir_option import add_data_dir_option
from highnoon.config import MAX_SIZE, require_count
from highnoon.files.print_text import print_text

if TYPE_CHECKING:
    from highnoon.evaluation.tasks import TaskResult

_COLUMNS = ("metric", "value", "95% interval", "cases", "ceiling", "constant", "copied")
_LAYOUT = "  {:<22}{:>7}  {:>14}{:>7}{:>9}{:>10}{:>8}"
LEGEND = (
    "ceiling: the reference answers; constant: one answer to all prompts; copied: the answer of the nearest "
    "training prompt"
)


def add_task_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--tasks",
        nargs="*",
        metavar="NAME",
        help="score answers to held-out prompts of tasks; without a name of all that have data",
    )
    add_data_dir_option(parser)
    add("--synthetic", action="store_true", help="use records that the tasks' generators make")
    add("--limit", type=int, default=64, metavar="N", help="prompts of each task (default 64)")
    add(
        "--max-length",
        type=int,
        metavar="N",
        help="most tokens of an answer (default: a quarter more than the longest reference answer)",
    )
    add(
        "--execute",
        action="store_true",
        help="also execute shell commands, in a sandbox without network that needs bubblewrap",
    )


def evaluate_tasks(model: Any, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measures each task, prints its table unless JSON is asked for, and returns all figures.

    Args:
        model: A language model with a tokenizer.
        arguments: Options of `add_task_options`, with `batch_size` and `json`.
    """
    from highnoon.evaluation.tasks import measure_task, overall_score, sample_task
    from highnoon.evaluation.tasks.run_commands import CommandSandbox
    from highnoon.evaluation.tasks.task_evaluator import open_tasks

    require_count("--limit", arguments.limit)
    if arguments.max_length is not None:
        require_count("--max-length", arguments.max_length, most=MAX_SIZE)
    sandbox = CommandSandbox() if arguments.execute else None
    training = getattr(model, "training_config", None)
    split = (training.validation_split if training else 0.0) or 0.1
    tasks, missing = open_tasks(arguments.tasks or None, arguments.data_dir, arguments.synthetic)
    for name, reason in missing.items():
        print_text(f"no figures of {name}: {reason}", file=sys.stderr)
    results = []
    for task in tasks:
        sample = sample_task(task, arguments.limit, split)
        results.append(
            measure_task(
                model, sample, arguments.max_length, arguments.batch_size, uses_bash=True, sandbox=sandbox
            )
        )
        if not arguments.json:
            print_text("\n".join(task_table(results[-1])))
    overall = overall_score([result.main_score for result in results])
    low, high = overall.interval
    if not arguments.json:
        mains = ", ".join(f"{result.sample.label}/{result.main}" for result in results)
        print_text(f"overall {overall.value:.3f} ({low:.3f} to {high:.3f}), the mean of {mains}\n{LEGEND}")
    return {
        "tasks": [result.to_json() for result in results],
        "without_data": missing,
        "overall": {"value": overall.value, "low": low, "high": high, "cases": overall.count},
    }


def task_table(result: TaskResult) -> Sequence[str]:
    """Returns the lines of a task's table."""
    sample, cases = result.sample, len(result.answers)
    head = f"{sample.label}: {cases} of {len(sample.examples)} prompts"
    if sample.is_synthetic:
        head += " that a generator made"
    if result.num_too_long:
        head += f"; {result.num_too_long} are longer than the model's window with their answer"
    if result.num_unfinished:
        head += f"; {result.num_unfinished} answers reached --max-length"
    lines = [head]
    if not cases:
        return lines
    lines.append(_LAYOUT.format(*_COLUMNS))
    for name, score in result.scores.items():
        low, high = score.interval
        others = [
            f"{found[name].value:.3f}" if name in found else "-"
            for found in (result.ceiling, result.constant, result.copy)
        ]
        interval = f"{low:.3f} to {high:.3f}"
        lines.append(_LAYOUT.format(name, f"{score.value:.3f}", interval, f"{score.count:g}", *others))
    if not result.to_json()["at_least_half_distinct"]:
        lines.append("  fewer than half of the answers are different: the model hardly reads the prompts")
    return lines
