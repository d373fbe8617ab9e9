"""What a stage may ask for in a run with an optimizer of Keras."""

from __future__ import annotations

from typing import Any

from highnoon.config import ConfigError
from highnoon.config.optimizer_choice import is_of_keras, optimizer_name
from highnoon.training.plans.stages import CurriculumStage


def require_fits_optimizer(stage: CurriculumStage, optimizer: Any, weight_mode: str) -> None:
    """Refuses what a stage asks for and the optimizer of its run cannot do.

    Args:
        stage: The stage.
        optimizer: `TrainingConfig.optimizer` of the run.
        weight_mode: What the weight of a stage multiplies.

    Raises:
        ConfigError: the stage multiplies the learning rate that an optimizer of Keras brings, or trains a
            part of the weights that it averages.
    """
    if not is_of_keras(optimizer):
        return
    name = optimizer_name(optimizer)
    if stage.weight != 1.0 and weight_mode == "learning_rate":
        raise ConfigError(
            f"stage `{stage.name}`: `weight` multiplies the learning rate, which {name} of Keras brings "
            'itself; leave `weight` out, or use weight_mode="loss"'
        )
    if stage.trainable is not None and optimizer["config"].get("use_ema"):
        raise ConfigError(
            f"stage `{stage.name}`: `trainable` selects weights, and {name} with `use_ema=True` averages all "
            "of them; leave one of the two out"
        )
