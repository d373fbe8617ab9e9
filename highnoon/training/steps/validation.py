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
from highnoon.training.steps.replicas import Replicas, sum_replicas
from highnoon.training.steps.step import BATCH_DTYPES


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
    """Sums a model's token losses over batches, without dropout or gradients, each replica its rows."""

    def __init__(self, model: keras.Model, replicas: Replicas | None = None) -> None:
        self.model = model
        self.replicas = replicas or Replicas()
        self._compiled: dict[int | None, Any] = {}

    def __call__(self, batches: Iterable[Mapping[str, np.ndarray]]) -> SplitLoss:
        """Returns the sums over all batches.

        Raises:
            ValueError: the batches hold no supervised token.
        """
        loss_sum, num_tokens = 0.0, 0.0
        for batch in batches:
            loss_sum += float(self._batch_loss_sum(batch))
            num_tokens += float(np.sum(batch["loss_weights"]))
        if not num_tokens:
            raise ValueError("expected a split with supervised tokens; received none")
        return SplitLoss(loss_sum, num_tokens)

    def _batch_loss_sum(self, batch: Mapping[str, np.ndarray]) -> tf.Tensor:
        row_length = batch["token_ids"].shape[1] if self.replicas.count == 1 else None
        if row_length not in self._compiled:
            self._compiled[row_length] = self._compile(row_length)
        if self.replicas.count == 1:
            return self._compiled[row_length](dict(batch))
        missing = -len(batch["token_ids"]) % self.replicas.count
        rows = {key: np.pad(value, ((0, missing), (0, 0))) for key, value in batch.items()}
        return self._compiled[row_length](self.replicas.share(rows, 1))

    def _compile(self, row_length: int | None) -> Any:
        def on_replica(batch: dict[str, tf.Tensor]) -> tf.Tensor:
            rows = {key: batch[key] for key in BATCH_DTYPES}
            return sum_replicas(loss_terms(self.model, rows, training=False)["loss_sum"])

        def loss_sum(batch: Any) -> tf.Tensor:
            return self.replicas.local(self.replicas.strategy.run(on_replica, args=(batch,)))[0]

        if row_length is None:
            return tf.function(loss_sum, reduce_retracing=True, autograph=False)
        specs = {key: tf.TensorSpec((None, row_length), dtype) for key, dtype in BATCH_DTYPES.items()}
        return tf.function(loss_sum, input_signature=[specs], autograph=False)
