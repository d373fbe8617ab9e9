"""`mlp`: the dense feed-forward with a gate."""

from __future__ import annotations

from typing import Any

from highnoon.config import ModelConfig
from highnoon.layers import GatedFeedForward
from highnoon.models.initializers import initializers
from highnoon.models.parts.part import Activations, FeedForwardPart


class Mlp(FeedForwardPart):
    """`highnoon.layers.GatedFeedForward`."""

    fields = ("ffn_dim", "ffn_activation", "ffn_bias")

    def build(self, config: ModelConfig, **kwargs: Any) -> GatedFeedForward:
        return GatedFeedForward(
            config.resolved_ffn_dim,
            activation=config.ffn_activation,
            use_bias=config.ffn_bias,
            **initializers(config),
            **kwargs,
        )

    def parameters(self, config: ModelConfig) -> int:
        biases = 2 * config.resolved_ffn_dim + config.embedding_dim if config.ffn_bias else 0
        return 3 * config.embedding_dim * config.resolved_ffn_dim + biases

    def activations(self, config: ModelConfig, length: int) -> Activations:
        """The input; gate, its activation, up, and the product of both."""
        return Activations(0, config.embedding_dim + 4 * config.resolved_ffn_dim)

    def describe(self, config: ModelConfig) -> str:
        return f"inner {config.resolved_ffn_dim}"

    def meaning(self, config: ModelConfig) -> dict[str, Any]:
        return {
            "ffn_dim": config.resolved_ffn_dim,
            "ffn_activation": config.ffn_activation,
            "ffn_bias": config.ffn_bias,
        }
