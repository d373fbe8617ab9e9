"""A context in which a model has its averaged weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras

from highnoon.training.optimizers import FunctionalOptimizer


@contextlib.contextmanager
def averaged_weights(model: keras.Model, optimizer: FunctionalOptimizer) -> Iterator[None]:
    """Gives a model its moving average and, at the end, its own weights back; no average, no change."""
    averages = optimizer.averages()
    if not averages:
        yield
        return
    own = [keras.ops.copy(weight) for weight in model.trainable_variables]
    optimizer.finalize_variable_values(model.trainable_variables)
    try:
        yield
    finally:
        for weight, value in zip(model.trainable_variables, own, strict=True):
            weight.assign(value)
