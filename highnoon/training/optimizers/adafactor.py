"""Adafactor as a function of tensors."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from highnoon.config import require_number
from highnoon.training.optimizers.functional_optimizer import FunctionalOptimizer


class Adafactor(FunctionalOptimizer):
    """Adam with second moments that are factored into rows and columns, with almost no extra memory.

        R <- b R + (1 - b) mean_columns(g^2 + e1)     C <- b C + (1 - b) mean_rows(g^2 + e1)
        u = g / sqrt(R C / mean(R))                   b = 1 - t^-0.8
        w <- (1 - lr decay) w - lr max(e2, RMS(w)) u / max(1, RMS(u))

    Weights with fewer than two axes have unfactored second moments. In a stack of matrices each matrix has
    its own rows, columns and means.

    Args:
        learning_rate: A float or a schedule, relative to the RMS of each weight: 1e-2 is common.
        weight_decay: Decoupled decay, times the learning rate.
        epsilon: e1, added to the squared gradients.
        smallest_scale: e2, the minimum RMS of a weight, for weights that are near 0.
        **options: As `FunctionalOptimizer`.

    Shazeer and Stern 2018 (arXiv:1804.04235), algorithm 4, without momentum and with an external
    learning rate schedule.
    """

    def __init__(
        self,
        learning_rate: Any = 1e-2,
        weight_decay: float = 0.0,
        epsilon: float = 1e-30,
        smallest_scale: float = 1e-3,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, weight_decay, **options)
        self.epsilon = require_number("epsilon", epsilon, above=0)
        self.smallest_scale = require_number("smallest_scale", smallest_scale, above=0)

    def slot_shapes(self, variable: keras.Variable) -> dict[str, tuple[int, ...]]:
        shape = tuple(variable.shape)
        if len(shape) < 2:
            return {"square": shape}
        return {"rows": shape[:-1], "columns": (*shape[:-2], shape[-1])}

    def update(
        self,
        variable: keras.Variable,
        gradient: Any,
        weight: Any,
        slots: dict[str, Any],
        step: Any,
        rate: Any,
    ) -> tuple[Any, dict[str, Any]]:
        decay = 1.0 - ops.power(step, -0.8)
        square = gradient * gradient + self.epsilon
        axes = tuple(range(max(0, len(weight.shape) - 2), len(weight.shape)))
        if "square" in slots:
            new = {"square": decay * slots["square"] + (1.0 - decay) * square}
            scale = new["square"]
        else:
            rows = decay * slots["rows"] + (1.0 - decay) * ops.mean(square, axis=-1)
            columns = decay * slots["columns"] + (1.0 - decay) * ops.mean(square, axis=-2)
            new = {"rows": rows, "columns": columns}
            relative = rows / ops.mean(rows, axis=-1, keepdims=True)
            scale = ops.expand_dims(relative, -1) * ops.expand_dims(columns, -2)
        direction = gradient / ops.sqrt(scale)
        direction = direction / ops.maximum(1.0, _root_mean_square(direction, axes))
        size = ops.maximum(self.smallest_scale, _root_mean_square(weight, axes))
        return self.decayed(variable, weight, rate) - rate * size * direction, new

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"epsilon": self.epsilon, "smallest_scale": self.smallest_scale}


def _root_mean_square(x: Any, axes: tuple[int, ...]) -> Any:
    return ops.sqrt(ops.mean(x * x, axis=axes, keepdims=True))
