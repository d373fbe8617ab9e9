"""Measures a trained model on text, or its answers to held-out prompts of tasks.

  highnoon evaluate my-run --data my_texts/
  highnoon evaluate my-run/best --data my_texts/ --held-out --json
  highnoon evaluate my-run --tasks bash_command function_call --synthetic --limit 20

On text the figures are loss, perplexity, and bits per byte, compared with `gzip -9`. Figures on training text
are too good: `--held-out` uses only the documents that a training on the same data holds out.

`--tasks` generates answers greedily and scores them, with an interval for each metric, next to the reference
answers, one constant answer, and the answer of the nearest training prompt.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING, Any

from highnoon.cli.data_options import add_data_options, dataset_entries
from highnoon.cli.evaluate_tasks import add_task_options, evaluate_tasks
from highnoon.cli.model_options import add_model_option, open_model, require_given
from highnoon.cli.process.quiet_start import load_tensorflow
from highnoon.config import MAX_SIZE, require_count

if TYPE_CHECKING:
    from highnoon.data import PackedRows
    from highnoon.models import LanguageModel

SUMMARY = "loss and bits per byte on your text, or metrics of answers to tasks"


def configure(parser: argparse.ArgumentParser) -> None:
    add_model_option(parser)
    add_data_options(parser, "files, folders, globs or dataset names")
    add_task_options(parser)
    parser.add_argument("--held-out", action="store_true", help="only the documents that training holds out")
    parser.add_argument("--batch-size", type=int, default=8, metavar="N", help="rows at once (default 8)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> None:
    require_given(arguments, "model")
    require_count("--batch-size", arguments.batch_size, most=MAX_SIZE)
    if (arguments.data is None) == (arguments.tasks is None):
        arguments.verb_parser.error("one of the options --data and --tasks are required")
    load_tensorflow()

    model = open_model(arguments.model, arguments.adapter)
    if arguments.data is not None and getattr(model, "loss_columns", None):
        raise ValueError(
            "a model with a memory is evaluated on rows of `memory.rows`, by which no document finds itself; "
            "use `highnoon.evaluation.evaluate_model` in Python, or give the model without its memory"
        )
    if arguments.tasks is not None:
        figures = evaluate_tasks(model, arguments)
        if arguments.json:
            print(json.dumps(figures))
        return
    has_template = getattr(model.tokenizer, "chat_template", None) is not None
    datasets = dataset_entries(arguments, in_model_template=has_template)
    rows = open_rows(model, datasets, arguments.held_out)
    figures = measure(model, rows, arguments.batch_size)
    if arguments.json:
        print(json.dumps(figures))
    else:
        print_figures(figures)


def measure(model: LanguageModel, rows: PackedRows, batch_size: int = 8) -> dict[str, Any]:
    """Returns the fields of `EvaluationResult`, and `gzip_bits_per_byte` of the same bytes."""
    from highnoon.evaluation import evaluate_model, gzip_bits_per_byte

    result = evaluate_model(model, rows, batch_size=batch_size)
    compressed = None if result.bits_per_byte is None else gzip_bits_per_byte(rows.texts())
    return {**dataclasses.asdict(result), "gzip_bits_per_byte": compressed}


def print_figures(figures: dict[str, Any]) -> None:
    print(f"tokens          {figures['num_tokens']:,} ({figures['num_bytes']:,} bytes)")
    print(f"loss            {figures['loss']:.4f} nats a token")
    print(f"perplexity      {figures['perplexity']:.2f}")
    if figures["bits_per_byte"] is None:
        print("bits per byte   unknown: only the answers are supervised, not all of the text")
    else:
        compressed = figures["gzip_bits_per_byte"]
        print(f"bits per byte   {figures['bits_per_byte']:.3f}   (gzip -9: {compressed:.3f})")


def open_rows(model: LanguageModel, datasets: list[Any], is_held_out: bool) -> PackedRows:
    """Packs all documents, or those that training holds out.

    Args:
        model: Its tokenizer and chat template are used.
        datasets: As those of a stage.
        is_held_out: Whether to pack only what a run of one stage over the datasets holds out.
    """
    from highnoon.data import PackedRows, tokenize
    from highnoon.data.tokens.split_by_length import split_by_length
    from highnoon.training.plans.stage_sources import open_stage_sources
    from highnoon.training.plans.stages import CurriculumStage

    validation_split = 0.0
    if is_held_out:
        training = getattr(model, "training_config", None)
        validation_split = training.validation_split if training else 0.1
    template = getattr(model.tokenizer, "chat_template", None)
    (opened,) = open_stage_sources([CurriculumStage("evaluate", datasets, steps=1)], None, template)
    stores = [
        tokenize(source, model.tokenizer, validation_split=validation_split) for source in opened.sources
    ]
    stores = [split_by_length(stores[0])] if len(stores) == 1 else stores
    return PackedRows(stores, row_length=model.max_seq_length, split="validation" if is_held_out else "train")
