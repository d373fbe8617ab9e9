"""Qwen2 and Qwen2.5, dense: Llama with biases on queries, keys and values, and windows in the last layers."""

from __future__ import annotations

from typing import Any

from highnoon.config import ModelConfig
from highnoon.models.hugging_face.attention_settings import (
    read_heads,
    read_layer_types,
    read_transformer,
    write_heads,
    write_layer_types,
    write_transformer,
)
from highnoon.models.hugging_face.family import Family, layer_kinds
from highnoon.models.hugging_face.llama import dense_stack_weights
from highnoon.models.hugging_face.rope_settings import read_rope, write_rope
from highnoon.models.hugging_face.settings import Settings

_WINDOW, _FULL_LAYERS = 4096, 28  # the defaults of config.json


def read_dense(settings: Settings) -> dict[str, Any]:
    """Returns the fields that Qwen2 and Qwen3 share: all but those of attention's heads and biases."""
    has_window = settings.flag("use_sliding_window", default=False)
    window = settings.count("sliding_window", default=_WINDOW, or_null=True)
    first = settings.count("max_window_layers", default=_FULL_LAYERS, low=0)

    def layer_type(number: int) -> str:
        return "sliding_attention" if has_window and number >= first else "full_attention"

    return {
        **read_transformer(settings),
        **read_rope(settings, settings.count("max_position_embeddings")),
        **read_layer_types(settings, window if has_window else None, layer_type),
        "ffn_dim": settings.count("intermediate_size"),
    }


def write_dense(config: ModelConfig) -> dict[str, Any]:
    """Returns the settings that `read_dense` reads, and those of heads."""
    kinds = layer_kinds(config)
    types = write_layer_types(config)
    windowed = [number for number, kind in enumerate(types["layer_types"]) if kind != "full_attention"]
    return {
        **write_transformer(config, len(kinds)),
        **write_heads(config),
        **write_rope(config),
        **types,
        "use_sliding_window": types["sliding_window"] is not None,
        "max_window_layers": min(windowed, default=len(kinds)),
        "intermediate_size": config.resolved_ffn_dim,
    }


def _read(settings: Settings) -> dict[str, Any]:
    return {**read_dense(settings), **read_heads(settings), "attention_bias": "qkv"}


QWEN2 = Family(
    "qwen2",
    "Qwen2ForCausalLM",
    'attention+mlp and sliding_attention+mlp with attention_bias="qkv"',
    _read,
    write_dense,
    dense_stack_weights,
)
