"""The grammar of a reasoning block, and the layers that its words name.

A block pattern lists residual pairs, `"mixer+feedforward, mixer+feedforward, ..."`, or is the name
of such a list. A mixer may stand alone, as the layers of Mamba do:

```python
from highnoon.models.patterns import parse_pattern

assert parse_pattern("mamba2+moe, attention+mlp") == [("mamba2", "moe"), ("attention", "mlp")]
assert parse_pattern("mamba, attention+mlp") == [("mamba", None), ("attention", "mlp")]
assert parse_pattern("transformer") == [("attention", "mlp")]
```
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras

from highnoon.config import ConfigError, ModelConfig
from highnoon.files.shown import shown
from highnoon.layers import (
    CausalSelfAttention,
    GatedDeltaRule,
    GatedFeedForward,
    LatentAttention,
    MoELayer,
    SelectiveStateSpace,
    StateSpaceDuality,
)

MAX_LAYERS = 4096
"""Most residual pairs of a whole stack; each costs time and memory to build, however narrow it is."""

NAMED_PATTERNS = {
    "transformer": "attention+mlp",
    "moe_only": "attention+moe",
    "mamba_only": "mamba2",
    "mamba_timecrystal_wlam_moe_hybrid": "mamba2+moe, gated_delta_rule+moe, sliding_attention+moe",
}
"""The documented names; docs/guides/models.md says what stands behind each."""


def parse_pattern(pattern: str) -> list[tuple[str, str | None]]:
    """Returns the (mixer, feed-forward or None) pairs of one reasoning block.

    Raises:
        ConfigError: an unknown name, an entry that is not `mixer` or `mixer+feedforward`, or more than
            `MAX_LAYERS` entries.
    """
    if not isinstance(pattern, str):
        raise ConfigError(f"`block_pattern` must be a text; received {shown(pattern)}")
    if (number := pattern.count(",") + 1) > MAX_LAYERS:
        raise ConfigError(
            f"`block_pattern` must have at most {MAX_LAYERS:,} entries; received {number:,}; repeat a short "
            "pattern with `num_reasoning_blocks`"
        )
    pairs: list[tuple[str, str | None]] = []
    for entry in NAMED_PATTERNS.get(pattern.strip(), pattern).split(","):
        mixer, *rest = (word.strip() for word in entry.split("+"))
        if mixer not in MIXERS or len(rest) > 1 or any(word not in FEED_FORWARDS for word in rest):
            raise ConfigError(
                f"`block_pattern` {shown(pattern)} has no layer for {shown(entry.strip())}; write entries "
                f"`mixer` or `mixer+feedforward` of the mixers {', '.join(MIXERS)} and the feed-forwards "
                f"{', '.join(FEED_FORWARDS)}, or a name: {', '.join(NAMED_PATTERNS)}"
            )
        pairs.append((mixer, rest[0] if rest else None))
    return pairs


def initializers(config: ModelConfig) -> dict[str, keras.initializers.Initializer]:
    """Normal of variance 2 / (5 d), and for kernels that write into the residual stream divided by
    the number of residual branches, so that its variance does not grow with depth.

    Nguyen & Salazar 2019 (arXiv:1910.05895), section 3.2; Radford et al. 2019 (GPT-2), section 2.3.
    """
    stddev = math.sqrt(2 / (5 * config.embedding_dim))
    branches = [part for pair in parse_pattern(config.block_pattern) for part in pair if part]
    num_branches = config.num_reasoning_blocks * len(branches)
    return {
        "kernel_initializer": keras.initializers.RandomNormal(stddev=stddev),
        "output_initializer": keras.initializers.RandomNormal(stddev=stddev / math.sqrt(num_branches)),
    }


def _attention(config: ModelConfig, window: int | None = None, **kwargs: Any) -> keras.Layer:
    return CausalSelfAttention(
        num_heads=config.resolved_num_heads,
        num_kv_heads=config.resolved_num_kv_heads,
        head_dim=config.head_dim,
        qk_norm=config.qk_norm,
        norm_epsilon=config.norm_epsilon,
        window=window,
        rope_theta=config.rope_theta,
        rope_scaling=config.rope_scaling,
        dropout=config.dropout,
        **initializers(config),
        **kwargs,
    )


def _sliding_attention(config: ModelConfig, **kwargs: Any) -> keras.Layer:
    return _attention(config, window=config.resolved_sliding_window, **kwargs)


def _latent_attention(config: ModelConfig, **kwargs: Any) -> keras.Layer:
    latent, unturned, turned, value = config.resolved_latent_dims
    return LatentAttention(
        config.resolved_num_heads,
        kv_lora_rank=latent,
        q_lora_rank=config.q_lora_rank,
        qk_nope_head_dim=unturned,
        qk_rope_head_dim=turned,
        v_head_dim=value,
        rope_theta=config.rope_theta,
        rope_scaling=config.rope_scaling,
        norm_epsilon=config.norm_epsilon,
        dropout=config.dropout,
        **initializers(config),
        **kwargs,
    )


def _mamba(config: ModelConfig, **kwargs: Any) -> keras.Layer:
    return SelectiveStateSpace(
        state_dim=config.state_dim or 16,
        expand=config.ssm_expand,
        conv_kernel_size=config.conv_kernel_size,
        time_step_rank=config.ssm_time_step_rank,
        dropout=config.dropout,
        **initializers(config),
        **kwargs,
    )


def _mamba2(config: ModelConfig, **kwargs: Any) -> keras.Layer:
    return StateSpaceDuality(
        state_dim=config.state_dim or 64,
        head_dim=config.resolved_ssm_head_dim,
        expand=config.ssm_expand,
        num_groups=config.ssm_num_groups,
        conv_kernel_size=config.conv_kernel_size,
        norm_epsilon=config.norm_epsilon,
        dropout=config.dropout,
        **initializers(config),
        **kwargs,
    )


def _gated_delta_rule(config: ModelConfig, **kwargs: Any) -> keras.Layer:
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


def _mlp(config: ModelConfig, **kwargs: Any) -> keras.Layer:
    return GatedFeedForward(config.resolved_ffn_dim, **initializers(config), **kwargs)


def _moe(config: ModelConfig, **kwargs: Any) -> keras.Layer:
    return MoELayer(
        num_experts=config.num_moe_experts,
        expert_dim=config.resolved_expert_dim,
        num_experts_per_tok=config.num_experts_per_tok,
        router_type=config.router_type,
        normalize_gates=config.normalize_gates,
        routed_scale=config.routed_scale,
        num_expert_groups=config.num_expert_groups,
        num_groups_per_tok=config.num_groups_per_tok,
        bias_update_rate=config.bias_update_rate,
        num_shared_experts=config.num_shared_experts,
        capacity_factor=config.capacity_factor,
        aux_loss_weight=config.aux_loss_weight,
        router_z_loss_weight=config.router_z_loss_weight,
        load_entropy_weight=config.load_entropy_weight,
        **initializers(config),
        **kwargs,
    )


LayerFactory = Callable[..., keras.Layer]

MIXERS: dict[str, LayerFactory] = {
    "attention": _attention,
    "sliding_attention": _sliding_attention,
    "latent_attention": _latent_attention,
    "mamba": _mamba,
    "mamba2": _mamba2,
    "gated_delta_rule": _gated_delta_rule,
}
FEED_FORWARDS: dict[str, LayerFactory] = {"mlp": _mlp, "moe": _moe}
