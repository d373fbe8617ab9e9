"""Figures of a trained run on the documents that it held out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from highnoon.evaluation.gzip_baseline import gzip_bits_per_byte
from highnoon.training.objective import NextToken

if TYPE_CHECKING:
    from highnoon.training import Trainer

MOST_BYTES = 16_000_000
"""Held-out text above which the end of a run does not measure it: minutes without a GPU."""
_ROWS_AT_ONCE = 64


def held_out_figures(trainer: Trainer, most_bytes: int = MOST_BYTES) -> dict[str, Any] | None:
    """Returns loss, perplexity and bits per byte of the trainer's model, next to `gzip -9` on the same bytes.

    Args:
        trainer: Its stages were prepared or trained.
        most_bytes: Held-out text above which nothing is measured.

    Returns:
        `loss` (nats a token), `perplexity`, `bits_per_byte`, `gzip_bits_per_byte`, `num_tokens` and
        `num_bytes` over all held-out documents of the stages, with None for both figures of bits where only
        parts of the text are supervised; None if no document is held out, a stage does
        not predict the next token or reads a stream, several processes train, or there is more text than
        `most_bytes`.
    """
    if trainer.replicas.num_workers > 1:
        return None
    splits = {}
    for data in trainer.stage_data():
        if data.validation_rows is not None:
            objective = data.objective
            is_of_text = isinstance(objective, NextToken) or objective.is_likelihood
            if not is_of_text or not hasattr(data.validation_rows, "texts"):
                return None
            splits[data.data_key] = data.validation_rows
    num_bytes = sum(rows.num_bytes for rows in splits.values())
    if not 0 < num_bytes <= most_bytes:
        return None
    figures = trainer.evaluate()
    if "bits_per_byte" not in figures:
        num_tokens = sum(num_supervised(rows) for rows in splits.values())
        compressed = None
    else:
        num_tokens = round(figures["bits_per_byte"] * num_bytes / (figures["loss"] / math.log(2)))
        compressed = gzip_bits_per_byte(text for rows in splits.values() for text in rows.texts())
    return {
        "bits_per_byte": None,
        **figures,
        "num_tokens": num_tokens,
        "num_bytes": num_bytes,
        "gzip_bits_per_byte": compressed,
    }


def num_supervised(rows: Any) -> int:
    """Returns the supervised tokens of rows."""
    view = rows.view(0)
    batches = (view.read(start, _ROWS_AT_ONCE) for start in range(0, view.num_rows, _ROWS_AT_ONCE))
    return round(sum(float(batch["loss_weights"].sum()) for batch in batches))
