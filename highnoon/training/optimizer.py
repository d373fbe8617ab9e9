"""The optimizer of a run: AdamW with decay on matrices only."""

from __future__ import annotations

import re

import keras

from highnoon.config import TrainingConfig

_NEVER_DECAYED = re.compile(r"embedding|norm|bias|gamma|beta|scale")


def is_decayed(variable: keras.Variable) -> bool:
    """Whether weight decay holds for a variable: matrices do, norms, biases and embeddings do not."""
    return len(variable.shape) >= 2 and not _NEVER_DECAYED.search(variable.path.lower())


def make_optimizer(
    model: keras.Model,
    config: TrainingConfig,
    schedule: keras.optimizers.schedules.LearningRateSchedule,
) -> keras.optimizers.Optimizer:
    """Returns AdamW (Loshchilov and Hutter, 2019) built for the model's trainable variables.

    It does not clip: the step clips by the norm of the whole batch's gradient.
    """
    optimizer = keras.optimizers.AdamW(
        learning_rate=schedule,
        weight_decay=config.weight_decay,
        beta_1=config.adam_beta1,
        beta_2=config.adam_beta2,
        epsilon=config.adam_epsilon,
    )
    optimizer.exclude_from_weight_decay(
        var_list=[variable for variable in model.trainable_variables if not is_decayed(variable)]
    )
    optimizer.build(model.trainable_variables)
    return optimizer
