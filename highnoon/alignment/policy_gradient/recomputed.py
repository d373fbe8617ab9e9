"""The policy's outputs for an iteration's rows, as the training step computes them (TensorFlow only)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from highnoon.alignment.policy_gradient.policy_gradient import PolicyGradient
from highnoon.layers.graph_function import graph_function
from highnoon.training.steps.batch_columns import column_specs, pad_rows, row_shapes


class RecomputedOutputs:
    """Log-probabilities and values of sampled rows at the current weights.

    They are computed in micro-batches of the training step's size, by the function that the step
    differentiates. Where the rows of the first steps are grouped alike, the policy's ratio is 1 to rounding
    there: a decoder sums in another order and is off by rounding.

    Args:
        objective: Whose outputs are computed.
        model: The policy, or its reference.
        micro_batch_size: Rows of one pass, as in the step.
        training: Whether the model computes as the step differentiates it; False for a reference.
    """

    def __init__(
        self, objective: PolicyGradient, model: keras.Model, micro_batch_size: int, *, training: bool = True
    ) -> None:
        self._objective, self._model, self._size = objective, model, micro_batch_size
        self._training = training
        self._columns = {name: objective.columns[name] for name in objective.input_names}
        self._compiled: dict[Any, Any] = {}

    def __call__(self, rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns `log_probs` and, where the model has them, `values`: arrays (rows, t) float32.

        Args:
            rows: The objective's `input_names`; any number of rows.
        """
        inputs = {name: np.asarray(rows[name]) for name in self._columns}
        num_rows = len(next(iter(inputs.values())))
        padded = pad_rows(self._columns, inputs, -num_rows % self._size)
        function = self._function(inputs)
        parts = [
            function({name: array[start : start + self._size] for name, array in padded.items()})
            for start in range(0, num_rows, self._size)
        ]
        return {name: np.concatenate([part[name] for part in parts])[:num_rows] for name in parts[0]}

    def _function(self, inputs: Mapping[str, np.ndarray]) -> Any:
        shapes = row_shapes(self._columns, inputs)
        if shapes not in self._compiled:
            specs = column_specs(self._columns, shapes, (self._size,))
            self._compiled[shapes] = graph_function(self._outputs, input_signature=[specs])
        return self._compiled[shapes]

    def _outputs(self, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        parts = getattr(self._model, "compiled_parts", nullcontext)()
        # What layers count in training (the load of experts) must not be counted here: the scope drops it.
        with keras.StatelessScope(collect_losses=True, state_mapping=[]), parts:
            outputs = self._objective.outputs(self._model, batch, training=self._training)
        found = {"log_probs": outputs.log_probs}
        return found if outputs.values is None else {**found, "values": outputs.values}
