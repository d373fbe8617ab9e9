"""`mamba2`: a selective state space with one decay a head, in chunks of matrix products."""

from __future__ import annotations

from typing import Any

from highnoon.config import ModelConfig
from highnoon.layers import StateSpaceDuality
from highnoon.models.initializers import initializers
from highnoon.models.parts.part import Activations, MixerPart

CHUNK_LENGTH = 64
"""Tokens in a chunk of the chunked recurrent mixers."""


class Mamba2(MixerPart):
    """`highnoon.layers.StateSpaceDuality`."""

    fields = ("state_dim", "ssm_expand", "ssm_head_dim", "ssm_num_groups", "conv_kernel_size")
    lora_layers = ("in_proj",)

    def state_dim(self, config: ModelConfig) -> int:
        """Returns the size of each channel's state."""
        return config.state_dim or 64

    def channels(self, config: ModelConfig) -> int:
        """Returns the channels of the convolution: the values, and each group's B and C."""
        return config.ssm_inner_dim + 2 * config.ssm_num_groups * self.state_dim(config)

    def build(self, config: ModelConfig, **kwargs: Any) -> StateSpaceDuality:
        return StateSpaceDuality(
            state_dim=self.state_dim(config),
            head_dim=config.resolved_ssm_head_dim,
            expand=config.ssm_expand,
            num_groups=config.ssm_num_groups,
            conv_kernel_size=config.conv_kernel_size,
            norm_epsilon=config.norm_epsilon,
            dropout=config.dropout,
            **initializers(config),
            **kwargs,
        )

    def parameters(self, config: ModelConfig) -> int:
        width, inner, channels = config.embedding_dim, config.ssm_inner_dim, self.channels(config)
        heads = inner // config.resolved_ssm_head_dim
        projections = width * (inner + channels + heads) + inner * width
        return projections + (config.conv_kernel_size + 1) * channels + 3 * heads + inner

    def cache_numbers(self, config: ModelConfig) -> int:
        inputs = (config.conv_kernel_size - 1) * self.channels(config)
        return inputs + config.ssm_inner_dim * self.state_dim(config)

    def activations(self, config: ModelConfig, length: int) -> Activations:
        """Among them the convolution's input, shifted once for each position that its kernel sees."""
        inner, channels = config.ssm_inner_dim, self.channels(config)
        groups = config.ssm_num_groups * self.state_dim(config)
        states = inner * self.state_dim(config) / min(CHUNK_LENGTH, length)
        narrow = config.conv_kernel_size * channels + 2 * channels + inner + 2 * config.embedding_dim
        return Activations(14 * inner + states + channels + 4 * groups, narrow)

    def describe(self, config: ModelConfig) -> str:
        return f"inner {config.ssm_inner_dim}, state {self.state_dim(config)}"

    def meaning(self, config: ModelConfig) -> dict[str, Any]:
        return {
            "state_dim": self.state_dim(config),
            "ssm_head_dim": config.resolved_ssm_head_dim,
            "ssm_num_groups": config.ssm_num_groups,
            "ssm_expand": config.ssm_expand,
            "conv_kernel_size": config.conv_kernel_size,
        }
