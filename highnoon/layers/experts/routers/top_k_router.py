"""Token choice: the k most probable experts."""

from __future__ import annotations

import keras

from highnoon.layers.experts.routers.router import Router


@keras.saving.register_keras_serializable(package="highnoon")
class TopKRouter(Router):
    """Chooses the top-k of softmax(logits), which also give the gates.

    Jiang et al. 2024, Mixtral (arXiv:2401.04088), section 2.1.
    """

    name = "top_k"
    can_group = True
