"""AdamW as a function of tensors."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from highnoon.config import require_number
from highnoon.training.optimizers.functional_optimizer import FunctionalOptimizer


class AdamW(FunctionalOptimizer):
    """Adam with decoupled weight decay.

        m <- b1 m + (1 - b1) g        v <- b2 v + (1 - b2) g^2
        w <- (1 - lr decay) w - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon)

    Args:
        learning_rate: A float or a schedule.
        weight_decay: Decoupled decay, times the learning rate.
        beta_1: b1, in [0, 1).
        beta_2: b2, in [0, 1).
        epsilon: Added to the square root.
        **options: As `FunctionalOptimizer`.

    Loshchilov and Hutter 2019 (arXiv:1711.05101), algorithm 2, with the decay multiplied by the learning
    rate, and without decay of norms, biases and embeddings.
    """

    def __init__(
        self,
        learning_rate: Any = 1e-3,
        weight_decay: float = 0.01,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, weight_decay, **options)
        self.beta_1 = require_number("beta_1", beta_1, least=0, below=1)
        self.beta_2 = require_number("beta_2", beta_2, least=0, below=1)
        self.epsilon = require_number("epsilon", epsilon, above=0)

    def slot_shapes(self, variable: keras.Variable) -> dict[str, tuple[int, ...]]:
        return {"mean": tuple(variable.shape), "square": tuple(variable.shape)}

    def update(
        self,
        variable: keras.Variable,
        gradient: Any,
        weight: Any,
        slots: dict[str, Any],
        step: Any,
        rate: Any,
    ) -> tuple[Any, dict[str, Any]]:
        direction, slots = adam_direction(gradient, slots, step, self.beta_1, self.beta_2, self.epsilon)
        return self.decayed(variable, weight, rate) - rate * direction, slots

    def get_config(self) -> dict[str, Any]:
        own = {"beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}
        return super().get_config() | own


def adam_direction(
    gradient: Any, slots: dict[str, Any], step: Any, beta_1: float, beta_2: float, epsilon: float
) -> tuple[Any, dict[str, Any]]:
    """Returns the direction that Adam subtracts, per unit of learning rate, and the new slots."""
    mean = beta_1 * slots["mean"] + (1.0 - beta_1) * gradient
    square = beta_2 * slots["square"] + (1.0 - beta_2) * gradient * gradient
    mean_correction = 1.0 - ops.power(beta_1, step)
    square_correction = 1.0 - ops.power(beta_2, step)
    direction = (mean / mean_correction) / (ops.sqrt(square / square_correction) + epsilon)
    return direction, slots | {"mean": mean, "square": square}
