"""The optimizer that a configuration names."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from highnoon.config import TrainingConfig
from highnoon.config.optimizer_choice import is_of_keras
from highnoon.training.optimizers.adafactor import Adafactor
from highnoon.training.optimizers.adamw import AdamW
from highnoon.training.optimizers.functional_optimizer import FunctionalOptimizer
from highnoon.training.optimizers.keras_optimizers import StatelessOptimizer, rebuild_optimizer
from highnoon.training.optimizers.lion import Lion
from highnoon.training.optimizers.muon import Muon, matrix_shapes


def make_optimizer(
    model: keras.Model,
    config: TrainingConfig,
    schedule: keras.optimizers.schedules.LearningRateSchedule,
    weights: Sequence[keras.Variable] | None = None,
) -> FunctionalOptimizer | StatelessOptimizer:
    """Returns the optimizer of a run, built for `weights`, by default the model's trainable variables.

    One of this package by name does not clip: the step clips by the norm of the whole batch's gradient. One
    of Keras brings its own learning rate and clipping; the schedule is not used then.

    Raises:
        ConfigError: an optimizer of Keras cannot be made from its description.
    """
    if is_of_keras(config.optimizer):
        own = rebuild_optimizer(config.optimizer, model.trainable_variables)
        own.build(model.trainable_variables if weights is None else weights)
        return own
    common = {
        "learning_rate": schedule,
        "weight_decay": config.weight_decay,
        "use_ema": config.ema_momentum is not None,
        "ema_momentum": config.ema_momentum or 0.0,
    }
    betas = {"beta_1": config.adam_beta1, "beta_2": config.adam_beta2}
    adam = {**betas, "epsilon": config.adam_epsilon}
    if config.optimizer == "adamw":
        optimizer: FunctionalOptimizer = AdamW(**common, **adam)
    elif config.optimizer == "lion":
        optimizer = Lion(**common, **betas)
    elif config.optimizer == "adafactor":
        optimizer = Adafactor(**common)
    else:
        optimizer = Muon(**common, **adam, momentum=config.muon_momentum, matrix_shapes=matrix_shapes(model))
    optimizer.build(model.trainable_variables if weights is None else weights)
    return optimizer
