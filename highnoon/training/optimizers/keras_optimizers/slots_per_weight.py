"""How much an optimizer of Keras remembers, without allocating it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import keras

from highnoon.training.optimizers.functional_optimizer import FunctionalOptimizer
from highnoon.training.optimizers.keras_optimizers.rebuild_optimizer import rebuild_optimizer

_SHAPE = (16, 16)


def slots_per_weight(described: Mapping[str, Any]) -> float:
    """Returns about how many numbers an optimizer keeps for each number of a matrix.

    Args:
        described: Its description, see `describe_optimizer`.
    """
    optimizer = rebuild_optimizer({**described, "exclude_from_weight_decay": None}, [])
    weight = keras.Variable(keras.ops.zeros(_SHAPE), name="kernel")
    if isinstance(optimizer, FunctionalOptimizer):
        sizes = [math.prod(shape) for shape in optimizer.slot_shapes(weight).values()]
    else:
        optimizer.build([weight])
        sizes = [math.prod(variable.shape) for variable in optimizer.variables if len(variable.shape)]
    return sum(sizes) / math.prod(_SHAPE)
