"""The update of an optimizer of Keras, skipped where a step is not good."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from highnoon.layers.graph_function import graph_function
from highnoon.training.optimizers import StatelessOptimizer
from highnoon.training.steps.weight_update import Updated


class StatelessUpdate:
    """Computes one update of all weights by an optimizer that handles them together.

    It has the interface of `WeightUpdate`. If a step is not good, only the count of steps changes.

    Args:
        optimizer: Built for the weights.
        weights: Trainable variables.
        jit_compile: Whether XLA compiles the update.
    """

    def __init__(
        self, optimizer: StatelessOptimizer, weights: Sequence[keras.Variable], jit_compile: bool
    ) -> None:
        self._optimizer, self._weights = optimizer, list(weights)
        self._function = graph_function(self._update, jit_compile=jit_compile)

    def __call__(
        self,
        gradients: Sequence[tf.Tensor],
        weights: Sequence[tf.Tensor],
        gradient_factor: tf.Tensor,
        learning_rate: tf.Tensor,
        is_good: tf.Tensor,
    ) -> Updated:
        """Returns the new values.

        Args:
            gradients: One a weight.
            weights: The variables' values.
            gradient_factor: What the gradients are multiplied by: float16's loss scale.
            learning_rate: Of this step, as reported; the optimizer computes it itself.
            is_good: Whether the step counts.
        """
        variables = self._optimizer.variables
        old = [tf.convert_to_tensor(variable.value) for variable in variables]
        factor = tf.convert_to_tensor(gradient_factor, tf.float32)
        new_weights, new = self._function(list(gradients), list(weights), old, factor, is_good)
        return Updated(new_weights, [*self._weights, *variables], [*new_weights, *new])

    def _update(
        self,
        gradients: list[tf.Tensor],
        weights: list[tf.Tensor],
        old: list[tf.Tensor],
        gradient_factor: tf.Tensor,
        is_good: tf.Tensor,
    ) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        optimizer = self._optimizer
        scaled = [gradient * tf.cast(gradient_factor, gradient.dtype) for gradient in gradients]
        new_weights, new = optimizer.updated(scaled, self._weights, weights, old)
        kept_weights = [
            tf.where(is_good, tf.cast(value, before.dtype), before)
            for value, before in zip(new_weights, weights, strict=True)
        ]
        counts = [variable is optimizer._iterations for variable in optimizer.variables]
        return kept_weights, [
            value if is_count else tf.where(is_good, tf.cast(value, before.dtype), before)
            for value, before, is_count in zip(new, old, counts, strict=True)
        ]
