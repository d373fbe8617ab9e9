"""Measures a trained model on text: loss, perplexity, and bits per byte, compared with `gzip -9`.

  highnoon evaluate --model highnoon-demo/model --data my_texts/
  highnoon evaluate --model highnoon-demo/model --data stdlib:docs --held-out --json

Figures on training text are too good: `--held-out` uses only the documents that a training on the same data
holds out.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING, Any

from highnoon.cli.model_options import add_model_option
from highnoon.cli.process.quiet_start import load_tensorflow
from highnoon.config import MAX_SIZE, require_count

if TYPE_CHECKING:
    from highnoon.data import PackedRows
    from highnoon.models import LanguageModel

SUMMARY = "loss, perplexity and bits per byte on your text"


def configure(parser: argparse.ArgumentParser) -> None:
    add_model_option(parser)
    parser.add_argument(
        "--data", required=True, nargs="+", metavar="PATH", help="files, folders, globs or dataset names"
    )
    parser.add_argument("--held-out", action="store_true", help="only the documents that training holds out")
    parser.add_argument("--batch-size", type=int, default=8, metavar="N", help="rows at once (default 8)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> None:
    require_count("--batch-size", arguments.batch_size, most=MAX_SIZE)
    load_tensorflow()
    import highnoon as hn

    model = hn.load_model(arguments.model)
    rows = open_rows(model, arguments.data, arguments.held_out)
    figures = measure(model, rows, arguments.batch_size)
    if arguments.json:
        print(json.dumps(figures))
    else:
        print_figures(figures)


def measure(model: LanguageModel, rows: PackedRows, batch_size: int = 8) -> dict[str, Any]:
    """Returns the fields of `EvaluationResult`, and `gzip_bits_per_byte` of the same bytes."""
    from highnoon.evaluation import evaluate_model, gzip_bits_per_byte

    result = evaluate_model(model, rows, batch_size=batch_size)
    return {**dataclasses.asdict(result), "gzip_bits_per_byte": gzip_bits_per_byte(rows.texts())}


def print_figures(figures: dict[str, Any]) -> None:
    print(f"tokens          {figures['num_tokens']:,} ({figures['num_bytes']:,} bytes)")
    print(f"loss            {figures['loss']:.4f} nats a token")
    print(f"perplexity      {figures['perplexity']:.2f}")
    print(f"bits per byte   {figures['bits_per_byte']:.3f}   (gzip -9: {figures['gzip_bits_per_byte']:.3f})")


def open_rows(model: LanguageModel, data: list[str], is_held_out: bool) -> PackedRows:
    """Packs all documents, or those that training holds out."""
    from highnoon.data import PackedRows, open_source, tokenize

    validation_split = 0.0
    if is_held_out:
        training = model.training_config
        validation_split = training.validation_split if training else 0.1
    stores = [
        tokenize(open_source(name), model.tokenizer, validation_split=validation_split) for name in data
    ]
    return PackedRows(
        stores, row_length=model.config.max_seq_length, split="validation" if is_held_out else "train"
    )
