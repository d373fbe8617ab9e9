"""Exact sums of an objective over a split, compiled (TensorFlow only)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from highnoon.layers.graph_function import graph_function
from highnoon.training.objective import Metric, NextToken, Objective
from highnoon.training.steps.batch_columns import RowShapes, column_specs, num_rows, pad_rows, row_shapes
from highnoon.training.steps.micro_batches import TOTAL, WEIGHT, metric_sums, scalar_sum
from highnoon.training.steps.replicas import FIRST_ROW, STOP, Replicas, sum_replicas

_EVALUATION_STREAM = 0x9E3779B9
"""Added to the first word of a random state: evaluation draws from streams that training never uses."""


@dataclasses.dataclass(frozen=True)
class SplitSums:
    """Sums of an objective over a split.

    Args:
        loss_sum: The sum of its terms: for `NextToken` nats, summed over supervised tokens.
        weight: The sum of its weights: for `NextToken` the number of supervised tokens.
        metrics: Total and weight of each metric.
        num_rows: Rows that were read.
    """

    loss_sum: float
    weight: float
    metrics: Mapping[str, tuple[np.ndarray, float]] = dataclasses.field(default_factory=dict)
    num_rows: int = 0

    @property
    def loss(self) -> float:
        """The loss sum divided by the weight."""
        return self.loss_sum / self.weight

    @property
    def perplexity(self) -> float:
        return math.exp(min(self.loss, 700.0))

    def bits_per_byte(self, num_bytes: float) -> float:
        """Returns the bits that a language model needs for a byte of the split's text."""
        return self.loss_sum / math.log(2) / num_bytes

    def __add__(self, other: SplitSums) -> SplitSums:
        metrics = dict(self.metrics)
        for name, (total, weight) in other.metrics.items():
            before = metrics.get(name, (np.zeros_like(total), 0.0))
            metrics[name] = (before[0] + total, before[1] + weight)
        num_rows = self.num_rows + other.num_rows
        return SplitSums(self.loss_sum + other.loss_sum, self.weight + other.weight, metrics, num_rows)


def require_weight(split: SplitSums) -> SplitSums:
    """Returns a split in which something counts.

    Raises:
        ValueError: nothing does.
    """
    if not split.weight:
        raise ValueError(
            "expected held-out rows with supervised tokens, or whatever the objective weighs; received none; "
            "hold out or evaluate more of them"
        )
    return split


class EvaluationStep:
    """Sums an objective over batches, without dropout or gradients, each replica its rows.

    It changes nothing of the model: what layers assign is discarded, and random draws come from streams of
    evaluation's own, which depend on the seed and on the position of the rows in the split. So the training
    that follows is the same whether or not the model was evaluated.

    Args:
        model: The model.
        replicas: The devices; None for one.
        objective: What is summed; None is `NextToken`.
    """

    def __init__(
        self,
        model: keras.Model,
        replicas: Replicas | None = None,
        objective: Objective | None = None,
    ) -> None:
        self.model = model
        self.replicas = replicas or Replicas()
        self.objective = objective or NextToken()
        layers = model._flatten_layers()
        seeds = [seed for layer in layers for seed in getattr(layer, "_seed_generators", [])]
        self._seeds = [seed.state for seed in [*seeds, *self.objective.seed_generators()]]
        self._compiled: dict[tuple[str, RowShapes], Any] = {}

    def __call__(self, batches: Iterable[Mapping[str, np.ndarray]]) -> SplitSums:
        """Returns the sums over all batches.

        Raises:
            ValueError: the batches hold nothing that counts (no supervised token).
        """
        return require_weight(self.sums(batches))

    def sums(self, batches: Iterable[Mapping[str, np.ndarray]]) -> SplitSums:
        """Returns the sums over all batches, of weight 0 where nothing in them counts."""
        split = SplitSums(0.0, 0.0)
        for batch in self._with_global_means(batches):
            split += self._sums(batch, split.num_rows)
        return split

    def _with_global_means(
        self, batches: Iterable[Mapping[str, np.ndarray]]
    ) -> Iterable[Mapping[str, np.ndarray]]:
        """Returns the batches with the means over all of them in the columns that the objective reads."""
        if not self.objective.global_columns:
            return batches
        batches = list(batches)
        totals: dict[str, np.ndarray] = {name: np.zeros(2) for name in self.objective.global_columns}
        first_row = 0
        for batch in batches:
            sums = metric_sums(self._run(batch, first_row, "means"))
            totals = {name: totals[name] + np.array(sums[name], np.float64) for name in totals}
            first_row += num_rows(self.objective.columns, batch)
        means = {name: total / weight if weight else 0.0 for name, (total, weight) in totals.items()}
        return [
            {**batch, **{name: np.full_like(batch[name], mean) for name, mean in means.items()}}
            for batch in batches
        ]

    def _sums(self, batch: Mapping[str, np.ndarray], first_row: int) -> SplitSums:
        sums = self._run(batch, first_row, "terms")
        metrics = {
            name: (np.asarray(total, np.float64), float(weight))
            for name, (total, weight) in metric_sums(sums).items()
        }
        rows_read = num_rows(self.objective.columns, batch)
        return SplitSums(float(sums["loss_sum"]), float(sums["weight"]), metrics, rows_read)

    def _run(self, batch: Mapping[str, np.ndarray], first_row: int, what: str) -> dict[str, Any]:
        """Returns the sums of a batch: of the objective's `terms`, or of its global `means`."""
        columns = self.objective.columns
        key = what, row_shapes(columns, batch)
        if key not in self._compiled:
            self._compiled[key] = self._compile(key[1], {"terms": self._terms, "means": self._means}[what])
        missing = -num_rows(columns, batch) % self.replicas.count
        inputs = self.replicas.split(pad_rows(columns, batch, missing), 1)
        return {
            name: value.numpy() for name, value in self._compiled[key](inputs, tf.constant(first_row)).items()
        }

    def _terms(self, rows: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        terms = self.objective.terms(self.model, rows, training=False)
        weight = self.objective.weight(rows)
        sums = {"loss_sum": scalar_sum(terms.loss_sum), "weight": scalar_sum(weight)}
        return sums | _named_sums(terms.metrics)

    def _means(self, rows: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return _named_sums(self.objective.global_means(self.model, rows))

    def _compile(self, shapes: RowShapes, compute: Callable[..., dict[str, tf.Tensor]]) -> Any:
        """Compiles a function of rows of these shapes."""
        columns = self.objective.columns

        def on_replica(batch: dict[str, tf.Tensor], first_row: tf.Tensor) -> dict[str, tf.Tensor]:
            rows = {name: batch[name] for name in columns}
            row = first_row + batch[FIRST_ROW]
            states = [(state, _evaluation_state(state, row)) for state in self._seeds]
            with keras.StatelessScope(state_mapping=states):
                sums = compute(rows)
            return sum_replicas(sums)

        def sums(batch: Any, first_row: tf.Tensor) -> dict[str, tf.Tensor]:
            results = self.replicas.strategy.run(on_replica, args=(batch, first_row))
            return {name: self.replicas.local(value)[0] for name, value in results.items()}

        if self.replicas.count > 1:
            return graph_function(sums, reduce_retracing=True)
        specs = column_specs(columns, shapes, (None,)) | {
            FIRST_ROW: tf.TensorSpec((), tf.int32),
            STOP: tf.TensorSpec((), tf.float32),
        }
        return graph_function(sums, input_signature=[specs, tf.TensorSpec((), tf.int32)])


def _named_sums(metrics: Mapping[str, Metric]) -> dict[str, tf.Tensor]:
    sums = {}
    for name, metric in metrics.items():
        sums[TOTAL + name] = tf.cast(tf.convert_to_tensor(metric.total), tf.float32)
        sums[WEIGHT + name] = scalar_sum(metric.weight)
    return sums


def _evaluation_state(state: keras.Variable, row: tf.Tensor) -> tf.Tensor:
    """Returns a random state for the rows that begin at `row`: another seed than training's, no draws."""
    now = tf.convert_to_tensor(state.value)
    seed = now[0] + tf.constant(_EVALUATION_STREAM, now.dtype) + tf.cast(row, now.dtype)
    return tf.stack([seed, tf.zeros_like(seed)])
