"""Token choice by sigmoid scores, balanced by a bias."""

from __future__ import annotations

import keras
from keras import ops

from highnoon.layers.experts.routers.router import Router


@keras.saving.register_keras_serializable(package="highnoon")
class SigmoidRouter(Router):
    """Chooses the top-k of sigmoid(logits) + bias; the gates come from the scores without the bias.

    The bias of an expert with less than an even load rises at the end of a training step, that of one with
    more falls. Wang et al. 2024 (arXiv:2408.15664), algorithm 1; DeepSeek-V3 (arXiv:2412.19437), section
    2.1.2, whose groups are those with the largest sum of their two best biased scores.
    """

    name = "sigmoid"
    has_bias = True
    can_group = True
    num_best_of_group = 2

    def scores(self, logits):
        return ops.sigmoid(logits)

    def weigh(self, scores, chosen):
        gates, _ = super().weigh(scores, chosen)
        return gates, scores / ops.sum(scores, axis=-1, keepdims=True)
