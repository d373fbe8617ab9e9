"""One line about the model that a run trains."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from highnoon.config import ModelConfig

if TYPE_CHECKING:
    from highnoon.training import Trainer

_ADAMW_COPIES = 3  # the gradient and two moments of each weight that is trained


def model_line(trainer: Trainer, name: str | None) -> str:
    """Returns name, parameters, those that one token passes, and memory of a trainer's model.

    Args:
        trainer: The trainer.
        name: Of the preset; None for a model without one.
    """
    from highnoon.models.memory import count_parameters

    model: Any = trainer.model
    config = getattr(model, "config", None)
    line = f"{name or 'model'}: {sum(math.prod(weight.shape) for weight in model.weights):,} parameters"
    if isinstance(config, ModelConfig):
        line += f", {count_parameters(config, active=True):,} of them for one token"
    weights, trained = _bytes(model.weights), _bytes(model.trainable_weights)
    line += f"; {_size(weights)} of weights"
    if trainer.config.optimizer == "adamw":
        line += f", {_size(weights + _ADAMW_COPIES * trained)} with gradients and AdamW's moments"
    return line


def _bytes(weights: Iterable[Any]) -> int:
    return sum(math.prod(weight.shape) * weight.value.dtype.size for weight in weights)


def _size(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
