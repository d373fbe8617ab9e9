"""The grammar of a reasoning block, and the layers that its words name.

A block pattern lists residual pairs, `"mixer+feedforward, mixer+feedforward, ..."`, or is the name
of such a list:

```python
from highnoon.models.patterns import parse_pattern

assert parse_pattern("attention+moe, attention+mlp") == [("attention", "moe"), ("attention", "mlp")]
assert parse_pattern("transformer") == [("attention", "mlp")]
```
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras

from highnoon.config import ConfigError, ModelConfig
from highnoon.layers import CausalSelfAttention, GatedFeedForward, MoELayer

NAMED_PATTERNS = {"transformer": "attention+mlp", "moe_only": "attention+moe"}


def parse_pattern(pattern: str) -> list[tuple[str, str]]:
    """Returns the (mixer, feed-forward) pairs of one reasoning block.

    Raises:
        ConfigError: an unknown name, or an entry that is not `mixer+feedforward`.
    """
    pairs = []
    for entry in NAMED_PATTERNS.get(pattern.strip(), pattern).split(","):
        words = [word.strip() for word in entry.split("+")]
        if len(words) != 2 or words[0] not in MIXERS or words[1] not in FEED_FORWARDS:
            raise ConfigError(
                f"`block_pattern` {pattern!r} has no layer for {entry.strip()!r}; write pairs "
                f"`mixer+feedforward` of the mixers {', '.join(MIXERS)} and the feed-forwards "
                f"{', '.join(FEED_FORWARDS)}, or a name: {', '.join(NAMED_PATTERNS)}"
            )
        pairs.append((words[0], words[1]))
    return pairs


def initializers(config: ModelConfig) -> dict[str, keras.initializers.Initializer]:
    """Normal of variance 2 / (5 d), and for kernels that write into the residual stream divided by
    the number of residual branches, so that its variance does not grow with depth.

    Nguyen & Salazar 2019 (arXiv:1910.05895), section 3.2; Radford et al. 2019 (GPT-2), section 2.3.
    """
    stddev = math.sqrt(2 / (5 * config.embedding_dim))
    num_branches = 2 * config.num_reasoning_blocks * len(parse_pattern(config.block_pattern))
    return {
        "kernel_initializer": keras.initializers.RandomNormal(stddev=stddev),
        "output_initializer": keras.initializers.RandomNormal(stddev=stddev / math.sqrt(num_branches)),
    }


def _attention(config: ModelConfig, **kwargs: Any) -> keras.Layer:
    return CausalSelfAttention(
        num_heads=config.resolved_num_heads, num_kv_heads=config.resolved_num_kv_heads,
        rope_theta=config.rope_theta, dropout=config.dropout, **initializers(config), **kwargs,
    )


def _mlp(config: ModelConfig, **kwargs: Any) -> keras.Layer:
    return GatedFeedForward(config.resolved_ffn_dim, **initializers(config), **kwargs)


def _moe(config: ModelConfig, **kwargs: Any) -> keras.Layer:
    return MoELayer(
        num_experts=config.num_moe_experts, expert_dim=config.resolved_expert_dim,
        num_experts_per_tok=config.num_experts_per_tok, router_type=config.router_type,
        num_shared_experts=config.num_shared_experts, capacity_factor=config.capacity_factor,
        aux_loss_weight=config.aux_loss_weight, router_z_loss_weight=config.router_z_loss_weight,
        **initializers(config), **kwargs,
    )


LayerFactory = Callable[..., keras.Layer]

MIXERS: dict[str, LayerFactory] = {"attention": _attention}
FEED_FORWARDS: dict[str, LayerFactory] = {"mlp": _mlp, "moe": _moe}
