"""An optimizer's update of all weights, as a function of tensors compiled once for each shape."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from highnoon.layers.graph_function import graph_function
from highnoon.training.optimizers import FunctionalOptimizer

_AVERAGE = "moving average"


@dataclasses.dataclass(frozen=True)
class Updated:
    """New values, not yet assigned.

    Args:
        weights: Of the weights alone.
        variables: All variables that change: weights, averages, slots, iterations.
        values: Their new values.
    """

    weights: list[tf.Tensor]
    variables: list[keras.Variable]
    values: list[tf.Tensor]


class WeightUpdate:
    """Computes one update of all weights.

    Weights that the optimizer treats equally share one compiled function, so that a deep model's update is
    traced as fast as one block's. If a step is not good, only the count of steps changes.

    Args:
        optimizer: Built for the weights.
        weights: Trainable variables.
        jit_compile: Whether XLA fuses an update into one pass over its weight.
    """

    def __init__(
        self, optimizer: FunctionalOptimizer, weights: Sequence[keras.Variable], jit_compile: bool
    ) -> None:
        self._optimizer, self._weights = optimizer, weights
        self._jit_compile = jit_compile
        self._compiled: dict[Any, Any] = {}

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
            gradient_factor: What the gradients are multiplied by, for clipping.
            learning_rate: Of this step.
            is_good: Whether the step counts.
        """
        optimizer = self._optimizer
        averages = optimizer.averages() or [None] * len(self._weights)
        iterations = tf.convert_to_tensor(optimizer.iterations.value) + 1
        scalars = (learning_rate, gradient_factor, is_good)
        variables: list[keras.Variable] = [optimizer.iterations]
        values, new_weights = [iterations], []
        for variable, weight, gradient, average in zip(
            self._weights, weights, gradients, averages, strict=True
        ):
            remembered = dict(optimizer.slots_of(variable)) | ({} if average is None else {_AVERAGE: average})
            old = {name: tf.convert_to_tensor(slot.value) for name, slot in remembered.items()}
            age = optimizer.age(variable)
            step = tf.cast(iterations - age if age else iterations, tf.float32)
            new_weight, new = self._function(variable)(gradient, weight, old, step, *scalars)
            new_weights.append(new_weight)
            variables += [variable, *remembered.values()]
            values += [new_weight, *(new[name] for name in remembered)]
        return Updated(new_weights, variables, values)

    def _function(self, variable: keras.Variable) -> Any:
        kind = self._optimizer.kind(variable), variable.dtype
        if kind not in self._compiled:
            self._compiled[kind] = graph_function(
                lambda *args: self._update(variable, *args), jit_compile=self._jit_compile
            )
        return self._compiled[kind]

    def _update(
        self,
        variable: keras.Variable,
        gradient: tf.Tensor,
        weight: tf.Tensor,
        old: dict[str, tf.Tensor],
        step: tf.Tensor,
        learning_rate: tf.Tensor,
        gradient_factor: tf.Tensor,
        is_good: tf.Tensor,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        slots = {name: value for name, value in old.items() if name != _AVERAGE}
        gradient = tf.cast(gradient, tf.float32) * gradient_factor
        new_weight, new = self._optimizer.update(
            variable, gradient, tf.cast(weight, tf.float32), slots, step, learning_rate
        )
        if _AVERAGE in old:
            momentum = tf.where(step > 1.0, self._optimizer.ema_momentum, 0.0)
            average = tf.cast(old[_AVERAGE], tf.float32)
            new[_AVERAGE] = momentum * average + (1.0 - momentum) * new_weight
        kept = {name: tf.where(is_good, tf.cast(new[name], old[name].dtype), old[name]) for name in old}
        return tf.where(is_good, tf.cast(new_weight, weight.dtype), weight), kept
