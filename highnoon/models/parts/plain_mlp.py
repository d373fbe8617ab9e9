"""`plain_mlp`: the dense feed-forward without a gate."""

from __future__ import annotations

from typing import Any

from highnoon.config import ModelConfig
from highnoon.layers import FeedForward
from highnoon.models.initializers import initializers
from highnoon.models.parts.mlp import Mlp
from highnoon.models.parts.part import Activations


class PlainMlp(Mlp):
    """`highnoon.layers.FeedForward`."""

    def build(self, config: ModelConfig, **kwargs: Any) -> FeedForward:
        return FeedForward(
            config.resolved_ffn_dim,
            activation=config.ffn_activation,
            use_bias=config.ffn_bias,
            **initializers(config),
            **kwargs,
        )

    def parameters(self, config: ModelConfig) -> int:
        biases = config.resolved_ffn_dim + config.embedding_dim if config.ffn_bias else 0
        return 2 * config.embedding_dim * config.resolved_ffn_dim + biases

    def activations(self, config: ModelConfig, length: int) -> Activations:
        """The input; the inner values before and after the activation."""
        return Activations(0, config.embedding_dim + 2 * config.resolved_ffn_dim)
