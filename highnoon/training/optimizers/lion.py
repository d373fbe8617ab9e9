"""Lion as a function of tensors."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from highnoon.config import require_number
from highnoon.training.optimizers.functional_optimizer import FunctionalOptimizer


class Lion(FunctionalOptimizer):
    """The sign of a momentum, with half the memory of Adam.

        w <- (1 - lr decay) w - lr sign(b1 m + (1 - b1) g)        m <- b2 m + (1 - b2) g

    Every weight changes by the learning rate, so use about a tenth of the learning rate of AdamW, and ten
    times its decay.

    Args:
        learning_rate: A float or a schedule.
        weight_decay: Decoupled decay, times the learning rate.
        beta_1: b1, in [0, 1).
        beta_2: b2, in [0, 1).
        **options: As `FunctionalOptimizer`.

    Chen et al. 2023 (arXiv:2302.06675), algorithm 2.
    """

    def __init__(
        self,
        learning_rate: Any = 1e-4,
        weight_decay: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.99,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, weight_decay, **options)
        self.beta_1 = require_number("beta_1", beta_1, least=0, below=1)
        self.beta_2 = require_number("beta_2", beta_2, least=0, below=1)

    def slot_shapes(self, variable: keras.Variable) -> dict[str, tuple[int, ...]]:
        return {"mean": tuple(variable.shape)}

    def update(
        self,
        variable: keras.Variable,
        gradient: Any,
        weight: Any,
        slots: dict[str, Any],
        step: Any,
        rate: Any,
    ) -> tuple[Any, dict[str, Any]]:
        mean = slots["mean"]
        direction = ops.sign(self.beta_1 * mean + (1.0 - self.beta_1) * gradient)
        mean = self.beta_2 * mean + (1.0 - self.beta_2) * gradient
        return self.decayed(variable, weight, rate) - rate * direction, {"mean": mean}

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"beta_1": self.beta_1, "beta_2": self.beta_2}
