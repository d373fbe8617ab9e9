"""`sliding_attention`: grouped-query self-attention over a window of earlier tokens."""

from __future__ import annotations

from typing import Any

from highnoon.config import ModelConfig
from highnoon.models.parts.attention import Attention, describe_heads


class SlidingAttention(Attention):
    """`highnoon.layers.CausalSelfAttention` with a window of `sliding_window` tokens."""

    fields = (*Attention.fields, "sliding_window")

    def window(self, config: ModelConfig) -> int:
        return config.resolved_sliding_window

    def describe(self, config: ModelConfig) -> str:
        return f"{describe_heads(config)}, window {config.resolved_sliding_window}"

    def meaning(self, config: ModelConfig) -> dict[str, Any]:
        return {**super().meaning(config), "sliding_window": config.resolved_sliding_window}
