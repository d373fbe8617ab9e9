"""`convolved_attention`: self-attention whose queries, keys and values see the last few tokens."""

from __future__ import annotations

from typing import Any

from highnoon.config import ModelConfig
from highnoon.layers import ConvolvedAttention
from highnoon.models.parts.attention import Attention
from highnoon.models.parts.part import Activations


class Convolved(Attention):
    """`highnoon.layers.ConvolvedAttention`."""

    fields = (*Attention.fields, "conv_kernel_size")

    def channels(self, config: ModelConfig) -> int:
        """Returns the channels of the convolution: queries, keys and values."""
        return config.resolved_head_dim * (config.resolved_num_heads + 2 * config.resolved_num_kv_heads)

    def build(self, config: ModelConfig, **kwargs: Any) -> ConvolvedAttention:
        return ConvolvedAttention(
            conv_kernel_size=config.conv_kernel_size, **self.arguments(config), **kwargs
        )

    def parameters(self, config: ModelConfig) -> int:
        return super().parameters(config) + config.conv_kernel_size * self.channels(config)

    def cache_numbers(self, config: ModelConfig) -> int:
        return super().cache_numbers(config) + (config.conv_kernel_size - 1) * self.channels(config)

    def activations(self, config: ModelConfig, length: int) -> Activations:
        """Among them the convolution's input, shifted once for each position that its kernel sees."""
        numbers = super().activations(config, length)
        return numbers._replace(narrow=numbers.narrow + config.conv_kernel_size * self.channels(config))

    def describe(self, config: ModelConfig) -> str:
        return f"{super().describe(config)}, kernel {config.conv_kernel_size}"

    def meaning(self, config: ModelConfig) -> dict[str, Any]:
        return {}  # no published family has it: its pattern alone decides
