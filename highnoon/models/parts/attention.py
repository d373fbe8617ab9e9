"""`attention`: grouped-query self-attention over all earlier tokens."""

from __future__ import annotations

from typing import Any

from highnoon.config import ModelConfig
from highnoon.layers import CausalSelfAttention
from highnoon.models.initializers import initializers
from highnoon.models.parts.part import Activations, MixerPart

_CHUNK_QUERIES = 128  # queries in a chunk of attention over rows that store its weights
_LONGEST_STORED = 1024  # attention over longer rows recomputes its weights


class Attention(MixerPart):
    """`highnoon.layers.CausalSelfAttention` without a window."""

    fields = (
        "num_heads",
        "num_kv_heads",
        "head_dim",
        "qk_norm",
        "attention_bias",
        "query_pre_attn_scalar",
        "attention_softcap",
        "rope_theta",
        "rope_scaling",
    )
    lora_layers = ("query", "value")

    def window(self, config: ModelConfig) -> int | None:
        """Returns how many tokens, itself among them, a token sees; None for all before it."""
        return None

    def build(self, config: ModelConfig, **kwargs: Any) -> CausalSelfAttention:
        return CausalSelfAttention(**self.arguments(config), **kwargs)

    def arguments(self, config: ModelConfig) -> dict[str, Any]:
        """Returns the arguments of the layer."""
        scalar = config.query_pre_attn_scalar
        return {
            "num_heads": config.resolved_num_heads,
            "num_kv_heads": config.resolved_num_kv_heads,
            "head_dim": config.head_dim,
            "qk_norm": config.qk_norm,
            "norm_epsilon": config.norm_epsilon,
            "window": self.window(config),
            "rope_theta": config.rope_theta,
            "rope_scaling": config.rope_scaling,
            "use_rotary": config.position_embedding == "rotary",
            "qkv_bias": config.attention_bias != "none",
            "output_bias": config.attention_bias == "all",
            "softmax_scale": None if scalar is None else scalar**-0.5,
            "softcap": config.attention_softcap,
            "dropout": config.dropout,
            **initializers(config),
        }

    def parameters(self, config: ModelConfig) -> int:
        """(2 h + 2 g) k d, two norms of k, and biases of (h + 2 g) k and d."""
        heads, kv_heads, size = (
            config.resolved_num_heads,
            config.resolved_num_kv_heads,
            config.resolved_head_dim,
        )
        norms = 2 * size if config.qk_norm else 0
        biases = size * (heads + 2 * kv_heads) if config.attention_bias != "none" else 0
        biases += config.embedding_dim if config.attention_bias == "all" else 0
        return 2 * config.embedding_dim * size * (heads + kv_heads) + norms + biases

    def cache_numbers(self, config: ModelConfig) -> int:
        return 2 * config.resolved_num_kv_heads * config.resolved_head_dim * config.max_seq_length

    def activations(self, config: ModelConfig, length: int) -> Activations:
        """Query and key before, while and after they are rotated, value, output, and the weights."""
        heads, size = config.resolved_num_heads, config.resolved_head_dim
        query, key = heads * size, config.resolved_num_kv_heads * size
        rotated = 5 * query + 5 * key + 2 * size
        wide = rotated + heads * stored_keys(length, self.window(config))
        return Activations(wide, 2 * config.embedding_dim + 4 * query + 4 * key)

    def flops(self, config: ModelConfig, length: int) -> float:
        return attention_flops(config, length)

    def describe(self, config: ModelConfig) -> str:
        return f"{describe_heads(config)}, {config.resolved_num_kv_heads} of keys and values"

    def meaning(self, config: ModelConfig) -> dict[str, Any]:
        rotary = {"rope_theta": config.rope_theta, "rope_scaling": config.rope_scaling}
        return {
            "num_heads": config.resolved_num_heads,
            "num_kv_heads": config.resolved_num_kv_heads,
            "head_dim": config.resolved_head_dim,
            "qk_norm": config.qk_norm,
            "attention_bias": config.attention_bias,
            "query_pre_attn_scalar": config.query_pre_attn_scalar or config.resolved_head_dim,
            "attention_softcap": config.attention_softcap,
            **(rotary if config.position_embedding == "rotary" else {}),
        }


def stored_keys(length: int, window: int | None) -> float:
    """Returns the mean number of keys whose weights are stored for a query; see `blockwise_attention`."""
    if length > _LONGEST_STORED:
        return 1.0
    stored, window = 0, window or length
    for start in range(0, length, _CHUNK_QUERIES):
        end = min(start + _CHUNK_QUERIES, length)
        stored += (end - start) * (end - max(0, start - window + 1))
    return stored / length


def attention_flops(config: ModelConfig, length: int) -> float:
    """Returns forward operations of a token's scores and weighted sums, over `length / 2` keys on average.

    Chowdhery et al. 2022, PaLM (arXiv:2204.02311), appendix B.
    """
    return 2.0 * length * config.resolved_num_heads * config.resolved_head_dim


def describe_heads(config: ModelConfig) -> str:
    """Returns number and size of the query heads in words."""
    return f"{config.resolved_num_heads} heads of {config.resolved_head_dim}"
