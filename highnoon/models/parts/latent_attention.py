"""`latent_attention`: attention whose cache holds one small latent a token."""

from __future__ import annotations

from typing import Any

from highnoon.config import ModelConfig
from highnoon.config.ranges import require
from highnoon.layers import LatentAttention
from highnoon.models.initializers import initializers
from highnoon.models.parts.attention import attention_flops, describe_heads, stored_keys
from highnoon.models.parts.part import Activations, MixerPart

_SIZES = ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")


class Latent(MixerPart):
    """`highnoon.layers.LatentAttention`."""

    fields = ("num_heads", "head_dim", *_SIZES, "q_lora_rank", "rope_theta", "rope_scaling")
    lora_layers = ("q_proj", "q_b_proj", "kv_b_proj")

    def build(self, config: ModelConfig, **kwargs: Any) -> LatentAttention:
        require(
            config.position_embedding == "rotary",
            "`latent_attention` has rotary positions alone; received position_embedding="
            f'{config.position_embedding!r}; use `attention`, or position_embedding="rotary"',
        )
        return LatentAttention(
            config.resolved_num_heads,
            **dict(zip(_SIZES, config.resolved_latent_dims, strict=True)),
            q_lora_rank=config.q_lora_rank,
            rope_theta=config.rope_theta,
            rope_scaling=config.rope_scaling,
            norm_epsilon=config.norm_epsilon,
            dropout=config.dropout,
            **initializers(config),
            **kwargs,
        )

    def parameters(self, config: ModelConfig) -> int:
        width, heads = config.embedding_dim, config.resolved_num_heads
        latent, plain, rotary, value = config.resolved_latent_dims
        query = heads * (plain + rotary)
        rank = config.q_lora_rank
        queries = width * query if rank is None else width * rank + rank + rank * query
        keys_and_values = width * (latent + rotary) + latent + latent * heads * (plain + value)
        return queries + keys_and_values + heads * value * width

    def cache_numbers(self, config: ModelConfig) -> int:
        latent, _, rotary, _ = config.resolved_latent_dims
        return (latent + rotary) * config.max_seq_length

    def activations(self, config: ModelConfig, length: int) -> Activations:
        heads, width = config.resolved_num_heads, config.embedding_dim
        latent, plain, rotary, value = config.resolved_latent_dims
        rank = config.q_lora_rank or 0
        wide = 3 * latent + 3 * rank + (5 * heads + 6) * rotary + heads * stored_keys(length, None)
        joined, expanded = 8 * (plain + rotary) + 4 * rotary, plain + 6 * value
        return Activations(wide, 2 * width + latent + rotary + 2 * rank + heads * (joined + expanded))

    def flops(self, config: ModelConfig, length: int) -> float:
        return attention_flops(config, length)

    def describe(self, config: ModelConfig) -> str:
        return f"{describe_heads(config)}, latent {config.resolved_latent_dims[0]}"

    def meaning(self, config: ModelConfig) -> dict[str, Any]:
        return {
            **dict(zip(_SIZES, config.resolved_latent_dims, strict=True)),
            "num_heads": config.resolved_num_heads,
            "q_lora_rank": config.q_lora_rank,
            "rope_theta": config.rope_theta,
            "rope_scaling": config.rope_scaling,
        }
