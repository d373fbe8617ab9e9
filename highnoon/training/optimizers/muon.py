"""Muon for every matrix of a model, AdamW for the rest, as one optimizer."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from highnoon.config import require_number
from highnoon.training.optimizers.adamw import adam_direction
from highnoon.training.optimizers.functional_optimizer import FunctionalOptimizer

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5


class Muon(FunctionalOptimizer):
    """Momentum with orthogonalized matrices, so that all directions change equally.

        m <- b m + g
        w <- (1 - lr decay) w - lr 0.2 sqrt(max(rows, columns)) orthogonal(g + b m)

    The factor gives updates the RMS of AdamW's, so that both use one learning rate. This update applies to
    weights for which `matrix_shape` returns a shape: each matrix of a stack (experts) by itself, and einsum
    kernels in the shape in which they multiply. Embeddings, heads, norms, biases and convolutions are updated
    by AdamW.

    Args:
        learning_rate: A float or a schedule.
        weight_decay: Decoupled decay, times the learning rate.
        momentum: b, in [0, 1).
        beta_1: Of AdamW, for the other weights.
        beta_2: Of AdamW.
        epsilon: Of AdamW.
        matrix_shapes: Shapes (matrices, rows, columns) of weights by path, from `matrix_shapes(model)`; None
            selects weights with two axes whose name ends in `kernel`.
        **options: As `FunctionalOptimizer`.

    Jordan 2024, "Muon: an optimizer for hidden layers"; the factor is that of Liu et al. 2025
    (arXiv:2502.16982), equation 4.
    """

    def __init__(
        self,
        learning_rate: Any = 1e-3,
        weight_decay: float = 0.01,
        momentum: float = 0.95,
        beta_1: float = 0.9,
        beta_2: float = 0.95,
        epsilon: float = 1e-8,
        matrix_shapes: Mapping[str, tuple[int, int, int]] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, weight_decay, **options)
        self.momentum = require_number("momentum", momentum, least=0, below=1)
        self.beta_1 = require_number("beta_1", beta_1, least=0, below=1)
        self.beta_2 = require_number("beta_2", beta_2, least=0, below=1)
        self.epsilon = require_number("epsilon", epsilon, above=0)
        self._matrix_shapes = None if matrix_shapes is None else dict(matrix_shapes)

    def matrix_shape(self, variable: keras.Variable) -> tuple[int, int, int] | None:
        """Returns the numbers of matrices, rows and columns of a weight; None if it is not a matrix."""
        if self._matrix_shapes is not None:
            return self._matrix_shapes.get(variable.path)
        is_matrix = len(variable.shape) == 2 and variable.path.endswith("kernel")
        return (1, *variable.shape) if is_matrix else None

    def slot_shapes(self, variable: keras.Variable) -> dict[str, tuple[int, ...]]:
        shape = tuple(variable.shape)
        return {"mean": shape} if self.matrix_shape(variable) else {"mean": shape, "square": shape}

    def kind(self, variable: keras.Variable) -> Any:
        return super().kind(variable), self.matrix_shape(variable)

    def update(
        self,
        variable: keras.Variable,
        gradient: Any,
        weight: Any,
        slots: dict[str, Any],
        step: Any,
        rate: Any,
    ) -> tuple[Any, dict[str, Any]]:
        kept = self.decayed(variable, weight, rate)
        shape = self.matrix_shape(variable)
        if shape is None:
            direction, slots = adam_direction(gradient, slots, step, self.beta_1, self.beta_2, self.epsilon)
            return kept - rate * direction, slots
        mean = self.momentum * slots["mean"] + gradient
        matrices = ops.reshape(gradient + self.momentum * mean, shape)
        direction = 0.2 * math.sqrt(max(shape[1:])) * orthogonalized(matrices)
        return kept - rate * ops.reshape(direction, ops.shape(weight)), {"mean": mean}

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "momentum": self.momentum,
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "matrix_shapes": self._matrix_shapes,
        }


def orthogonalized(matrices: Any) -> Any:
    """Returns (n, rows, columns) matrices with the same singular vectors and singular values near 1.

        X <- a X + (b A + c A A) X,   A = X X'

    Five iterations from X / |X| bring all singular values above a hundredth of the largest to between 0.7 and
    1.2.
    """
    is_tall = matrices.shape[1] > matrices.shape[2]
    x = ops.swapaxes(matrices, 1, 2) if is_tall else matrices
    x = x / (ops.sqrt(ops.sum(x * x, axis=(1, 2), keepdims=True)) + 1e-7)
    a, b, c = _COEFFICIENTS
    for _ in range(_ITERATIONS):
        square = ops.matmul(x, ops.swapaxes(x, 1, 2))
        x = a * x + ops.matmul(b * square + c * ops.matmul(square, square), x)
    return ops.swapaxes(x, 1, 2) if is_tall else x


def matrix_shapes(model: keras.Model) -> dict[str, tuple[int, int, int]]:
    """Returns (matrices, rows, columns) of every weight of a model that multiplies hidden states, by path.

    These are dense kernels, kernels of `EinsumDense` and multi-head attention with the contracted axes
    as rows, and stacks of matrices: weights with three axes in a layer with `num_experts`. The head (the last
    layer of a model), embeddings and convolutions are not among them.
    """
    shapes = {}
    head = model.layers[-1] if model.layers else None
    for layer in model._flatten_layers():
        for variable in layer._trainable_variables if layer is not head else []:
            shape = _matrix_shape(layer, variable)
            if shape is not None:
                shapes[variable.path] = shape
    return shapes


def _matrix_shape(layer: keras.layers.Layer, variable: keras.Variable) -> tuple[int, int, int] | None:
    name, shape = variable.path.split("/")[-1], tuple(variable.shape)
    if isinstance(layer, keras.layers.EinsumDense) and name == "kernel":
        return _einsum_shape(layer.equation, shape)
    if isinstance(layer, keras.layers.Dense) and name == "kernel":
        return (1, shape[0], shape[1])
    if hasattr(layer, "num_experts") and len(shape) == 3:
        return (shape[0], shape[1], shape[2])
    return (1, shape[0], shape[1]) if name == "router" and len(shape) == 2 else None


def _einsum_shape(equation: str, shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    """Rows are the axes of the kernel that the output lacks; None if rows and columns alternate."""
    inputs, output = equation.replace("...", "").split("->")
    inputs, kernel = inputs.split(",")
    kinds = "".join("r" if axis not in output else "s" if axis in inputs else "c" for axis in kernel)
    match = re.fullmatch(r"(s*)(r+)(c+)", kinds) or re.fullmatch(r"(s*)(c+)(r+)", kinds)
    if match is None:
        return None
    stacked, first, second = (math.prod(shape[slice(*match.span(group))]) for group in (1, 2, 3))
    return stacked, first, second
