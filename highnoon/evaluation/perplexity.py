"""Loss, perplexity and bits per byte of a model on a split, summed exactly (TensorFlow only)."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import keras

from highnoon.config import MAX_SIZE, require_count, shown
from highnoon.config.known_arguments import known_arguments
from highnoon.training.objectives.block_diffusion.next_token_of_blocks import likelihood_objective
from highnoon.training.plans.supervises_all import supervises_all
from highnoon.training.steps.evaluation import EvaluationStep

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np

    from highnoon.data import PackedRows


@dataclasses.dataclass(frozen=True)
class EvaluationResult:
    """A model's loss on a split.

    Args:
        loss: Nats a token, `sum of token losses / num_tokens`.
        perplexity: `exp(loss)`.
        bits_per_byte: `sum of token losses / ln 2 / num_bytes`: comparable between tokenizers, and
            with a compressor. None where only parts of the text are supervised, as in conversations.
        num_tokens: Supervised tokens of the split.
        num_bytes: UTF-8 bytes of the split's text.
    """

    loss: float
    perplexity: float
    bits_per_byte: float | None
    num_tokens: int
    num_bytes: int


@known_arguments
def evaluate_model(model: keras.Model, rows: PackedRows, batch_size: int = 8) -> EvaluationResult:
    """Evaluates a model on every row of a split, once, without dropout.

    The sums run over the whole split, so the figures do not depend on `batch_size`, and a short last
    batch weighs as much as its tokens.

    Args:
        model: A language model, or any Keras model of token ids to logits.
        rows: The split, packed.
        batch_size: Rows computed together.

    Raises:
        ValueError: `batch_size` below 1, or rows without a supervised token.
        TypeError: `rows` are no packed rows.
    """
    if not hasattr(rows, "view"):
        raise TypeError(
            f"`rows` must be PackedRows; received {shown(rows)}. To evaluate texts or files: "
            "hn.Trainer(model).evaluate(texts)"
        )
    require_count("batch_size", batch_size, most=MAX_SIZE)
    objective = likelihood_objective(model)
    split = EvaluationStep(model, objective=objective)(_batches(rows, batch_size))
    return EvaluationResult(
        loss=split.loss,
        perplexity=split.perplexity,
        bits_per_byte=split.bits_per_byte(rows.num_bytes) if supervises_all(rows) else None,
        num_tokens=round(split.weight),
        num_bytes=rows.num_bytes,
    )


def _batches(rows: PackedRows, batch_size: int) -> Iterator[Mapping[str, np.ndarray]]:
    view = rows.view(epoch=0)
    for start in range(0, view.num_rows, batch_size):
        yield view.read(start, batch_size)
