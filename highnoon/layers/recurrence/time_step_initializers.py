"""Initializers of state spaces: step sizes and decay rates."""

from __future__ import annotations

import math

import keras
from keras import ops

from highnoon.config import require_number


@keras.saving.register_keras_serializable(package="highnoon")
class TimeStepBias(keras.initializers.Initializer):
    """Draws the bias b such that the step softplus(b) is log-uniform.

    ```
    step = max(exp(uniform(log minimum, log maximum)), floor)
    b    = step + log(1 - exp(-step))
    ```

    Args:
        minimum: Smallest step, above 0.
        maximum: Largest step, at least `minimum`.
        floor: No step starts below it, above 0.
        seed: An integer, or None for Keras's global one.

    Raises:
        ValueError: the bounds are not 0 < minimum <= maximum, or `floor` is not above 0.

    Gu & Dao 2023, Mamba (arXiv:2312.00752), section 3.6.
    """

    def __init__(self, minimum: float = 0.001, maximum: float = 0.1, floor: float = 1e-4, seed=None) -> None:
        for name, value in (("minimum", minimum), ("maximum", maximum), ("floor", floor)):
            require_number(name, value, above=0)
        if minimum > maximum:
            raise ValueError(
                f"time steps need 0 < minimum <= maximum; received minimum={minimum}, maximum={maximum}"
            )
        self.minimum, self.maximum, self.floor = minimum, maximum, floor
        self.seed = seed

    def __call__(self, shape, dtype=None):
        low, high = math.log(self.minimum), math.log(self.maximum)
        step = ops.exp(keras.random.uniform(shape, low, high, dtype="float32", seed=self.seed))
        step = ops.maximum(step, self.floor)
        return ops.cast(step + ops.log(-ops.expm1(-step)), dtype or "float32")

    def get_config(self):
        return {"minimum": self.minimum, "maximum": self.maximum, "floor": self.floor, "seed": self.seed}


@keras.saving.register_keras_serializable(package="highnoon")
class LogUniform(keras.initializers.Initializer):
    """The logarithm of uniform values, for rates that are stored as logarithms.

    Args:
        minimum: Smallest value, above 0.
        maximum: Largest value.
        seed: An integer, or None for Keras's global one.

    Raises:
        ValueError: the bounds are not 0 < minimum <= maximum.
    """

    def __init__(self, minimum: float, maximum: float, seed=None) -> None:
        for name, value in (("minimum", minimum), ("maximum", maximum)):
            require_number(name, value, above=0)
        if minimum > maximum:
            raise ValueError(
                f"rates need 0 < minimum <= maximum; received minimum={minimum}, maximum={maximum}"
            )
        self.minimum, self.maximum = minimum, maximum
        self.seed = seed

    def __call__(self, shape, dtype=None):
        values = keras.random.uniform(shape, self.minimum, self.maximum, dtype="float32", seed=self.seed)
        return ops.cast(ops.log(values), dtype or "float32")

    def get_config(self):
        return {"minimum": self.minimum, "maximum": self.maximum, "seed": self.seed}


@keras.saving.register_keras_serializable(package="highnoon")
class LogRange(keras.initializers.Initializer):
    """The logarithms of 1, 2, .., n along the last axis: the rates of S4D-Real.

    Gu et al. 2022, S4D (arXiv:2206.11893), eq. 9.
    """

    def __call__(self, shape, dtype=None):
        values = ops.log(ops.arange(1, shape[-1] + 1, dtype="float32"))
        return ops.cast(ops.broadcast_to(values, shape), dtype or "float32")
