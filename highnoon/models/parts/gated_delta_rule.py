"""`gated_delta_rule`: linear attention over a memory that overwrites."""

from __future__ import annotations

from typing import Any

from highnoon.config import ModelConfig
from highnoon.layers import GatedDeltaRule
from highnoon.models.initializers import initializers
from highnoon.models.parts.attention import describe_heads
from highnoon.models.parts.mamba2 import CHUNK_LENGTH
from highnoon.models.parts.part import Activations, MixerPart


class DeltaRule(MixerPart):
    """`highnoon.layers.GatedDeltaRule`."""

    fields = ("num_heads", "num_kv_heads", "head_dim", "conv_kernel_size")
    lora_layers = ("in_proj_qkvz",)

    def build(self, config: ModelConfig, **kwargs: Any) -> GatedDeltaRule:
        return GatedDeltaRule(
            config.resolved_num_heads,
            config.resolved_num_kv_heads,
            key_head_dim=config.resolved_head_dim,
            value_head_dim=config.resolved_head_dim,
            conv_kernel_size=config.conv_kernel_size,
            norm_epsilon=config.norm_epsilon,
            dropout=config.dropout,
            **initializers(config),
            **kwargs,
        )

    def parameters(self, config: ModelConfig) -> int:
        width, heads, size = config.embedding_dim, config.resolved_num_heads, config.resolved_head_dim
        keys, values = config.resolved_num_kv_heads * size, heads * size
        inputs = width * 2 * (keys + values) + width * 2 * heads
        return inputs + config.conv_kernel_size * (2 * keys + values) + 2 * heads + size + values * width

    def cache_numbers(self, config: ModelConfig) -> int:
        size = config.resolved_head_dim
        keys, values = config.resolved_num_kv_heads * size, config.resolved_num_heads * size
        return (config.conv_kernel_size - 1) * (2 * keys + values) + values * size

    def activations(self, config: ModelConfig, length: int) -> Activations:
        """Among them the convolution's input, shifted once for each position that its kernel sees."""
        heads, size = config.resolved_num_heads, config.resolved_head_dim
        groups, chunk = config.resolved_num_kv_heads, min(CHUNK_LENGTH, length)
        keys, values = groups * size, heads * size
        channels = 2 * keys + values
        squares = 9 * heads * chunk + 2 * groups * chunk  # within a chunk, with the inverse's levels
        wide = squares + channels + 11 * keys + 22 * values + 2 * values * size / chunk
        narrow = config.conv_kernel_size * channels + 4 * config.embedding_dim + 2 * (keys + values)
        return Activations(wide, narrow)

    def describe(self, config: ModelConfig) -> str:
        return describe_heads(config)

    def meaning(self, config: ModelConfig) -> dict[str, Any]:
        return {}  # no published family has it: its pattern alone decides
