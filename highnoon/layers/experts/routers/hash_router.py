"""A fixed random router."""

from __future__ import annotations

import keras
from keras import ops

from highnoon.layers.experts.routers.router import Router


@keras.saving.register_keras_serializable(package="highnoon")
class HashRouter(Router):
    """Chooses the k largest logits of a random projection that is never trained, with equal gates.

    Not the hash of token ids of Roller et al. 2021 (arXiv:2106.04426), since a layer sees hidden states
    alone: the fixed random router of Chen et al. 2023, SMoE-Dropout (arXiv:2303.01610).
    """

    name = "hash"
    is_trained = False

    def preferences(self, logits, scores):
        return logits

    def weigh(self, scores, chosen):
        return ops.sum(chosen, axis=-1), ops.sum(chosen, axis=2) / self.num_experts_per_tok
