"""Expert choice without a look at later tokens."""

from __future__ import annotations

import keras
from keras import ops

from highnoon.layers.experts.routers.router import Router

_SLOTS_PER_CHOICE = 2  # experts that may take one token, over how many do on average


@keras.saving.register_keras_serializable(package="highnoon")
class CausalExpertChoiceRouter(Router):
    """Each expert takes the tokens whose score exceeds its threshold, the negative of its bias.

    A token has at most 2 `num_experts_per_tok` experts, perhaps none; the bias moves such that it has
    `num_experts_per_tok` on average. Expert choice (Zhou et al. 2022, arXiv:2202.09368) with a threshold from
    earlier steps instead of a comparison with later tokens; Sun et al. 2026 (arXiv:2603.11535) with the sign
    rule instead of a moving average.
    """

    name = "causal_expert_choice"
    has_bias = True

    def initial_bias(self, num_experts: int) -> float:
        return -1 / num_experts

    def count_slots(self, num_experts: int) -> int:
        return min(num_experts, _SLOTS_PER_CHOICE * self.num_experts_per_tok)

    def accept(self, values, expert_ids, num_experts: int):
        return ops.where(values > 0, expert_ids, num_experts)
