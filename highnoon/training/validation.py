"""Exact loss over a split, compiled (TensorFlow only)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from highnoon.training.objective import loss_terms
from highnoon.training.step import BATCH_DTYPES


@dataclasses.dataclass(frozen=True)
class SplitLoss:
    """Sums of a loss over a split.

    Args:
        loss_sum: Nats, summed over supervised tokens.
        num_tokens: Supervised tokens.
    """

    loss_sum: float
    num_tokens: float

    @property
    def loss(self) -> float:
        """Nats a token."""
        return self.loss_sum / self.num_tokens

    @property
    def perplexity(self) -> float:
        return math.exp(min(self.loss, 700.0))

    def bits_per_byte(self, num_bytes: int) -> float:
        """Returns the bits that the model needs for a byte of the split's text."""
        return self.loss_sum / math.log(2) / num_bytes

    def __add__(self, other: SplitLoss) -> SplitLoss:
        return SplitLoss(self.loss_sum + other.loss_sum, self.num_tokens + other.num_tokens)


class ValidationStep:
    """Sums a model's token losses over batches, without dropout or gradients."""

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        self._compiled: dict[int, Any] = {}

    def __call__(self, batches: Iterable[Mapping[str, np.ndarray]]) -> SplitLoss:
        """Returns the sums over all batches.

        Raises:
            ValueError: the batches hold no supervised token.
        """
        loss_sum, num_tokens = 0.0, 0.0
        for batch in batches:
            loss_sum += float(self._batch_loss_sum(dict(batch)))
            num_tokens += float(np.sum(batch["loss_weights"]))
        if not num_tokens:
            raise ValueError("expected a split with supervised tokens; received none")
        return SplitLoss(loss_sum, num_tokens)

    def _batch_loss_sum(self, batch: dict[str, np.ndarray]) -> tf.Tensor:
        row_length = batch["token_ids"].shape[1]
        if row_length not in self._compiled:
            specs = {key: tf.TensorSpec((None, row_length), dtype) for key, dtype in BATCH_DTYPES.items()}
            self._compiled[row_length] = tf.function(
                lambda batch: loss_terms(self.model, batch, training=False)["loss_sum"],
                input_signature=[specs],
                autograph=False,
            )
        return self._compiled[row_length](batch)
