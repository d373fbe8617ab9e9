"""Optimizers of Keras, and of others, as functions of tensors."""

from highnoon.training.optimizers.keras_optimizers.describe_optimizer import describe_optimizer
from highnoon.training.optimizers.keras_optimizers.rebuild_optimizer import rebuild_optimizer
from highnoon.training.optimizers.keras_optimizers.stateless_optimizer import StatelessOptimizer

__all__ = ["StatelessOptimizer", "describe_optimizer", "rebuild_optimizer"]
