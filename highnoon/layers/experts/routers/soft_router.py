"""Every expert for every token."""

from __future__ import annotations

import keras
from keras import ops

from highnoon.layers.experts.routers.router import Choice, Router


@keras.saving.register_keras_serializable(package="highnoon")
class SoftRouter(Router):
    """Weights all experts by softmax(logits), at the cost of every feed-forward for each token.

    The dense mixture of Jacobs et al. 1991. Not Soft MoE (Puigcerver et al. 2023, arXiv:2308.00951), whose
    slots average over all tokens, later ones too.
    """

    name = "soft"

    def check(self, num_experts: int, capacity_factor: float | None) -> None:
        super().check(num_experts, capacity_factor)
        if self.num_experts_per_tok != num_experts or capacity_factor is not None:
            raise ValueError(
                '`router_type="soft"` sends every token to every expert: give num_experts_per_tok='
                f"{num_experts} and capacity_factor=None; received {self.num_experts_per_tok} and "
                f"{capacity_factor}"
            )

    def counts(self, choice: Choice, is_token):
        """Every expert has every token, so the probabilities are what differs."""
        return ops.sum(choice.probabilities * is_token[..., None], axis=1) * self.num_experts_per_tok
