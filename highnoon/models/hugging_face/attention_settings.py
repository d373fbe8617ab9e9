"""Settings that the families with grouped-query attention share."""

from __future__ import annotations

from typing import Any

from highnoon.config import ModelConfig
from highnoon.models.hugging_face.rope_settings import read_rope, write_rope
from highnoon.models.hugging_face.settings import Settings


def read_transformer(settings: Settings, tied: bool = False) -> dict[str, Any]:
    """Returns the fields of width, vocabulary and norm; `tied` is the default of `tie_embeddings`."""
    settings.require("hidden_act", "silu")
    return {
        "vocab_size": settings.count("vocab_size"),
        "embedding_dim": settings.count("hidden_size"),
        "max_seq_length": settings.count("max_position_embeddings"),
        "norm_epsilon": settings.number("rms_norm_eps"),
        "tie_embeddings": settings.flag("tie_word_embeddings", default=tied),
    }


def write_transformer(config: ModelConfig, num_layers: int) -> dict[str, Any]:
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.embedding_dim,
        "num_hidden_layers": num_layers,
        "max_position_embeddings": config.max_seq_length,
        "rms_norm_eps": config.norm_epsilon,
        "tie_word_embeddings": config.tie_embeddings,
        "hidden_act": "silu",
    }


def read_attention(settings: Settings, default_theta: float = 10000.0) -> dict[str, Any]:
    """Returns the fields of grouped-query attention without biases."""
    settings.require("attention_bias", False)
    width, heads = settings.count("hidden_size"), settings.count("num_attention_heads")
    return {
        "num_heads": heads,
        "num_kv_heads": settings.count("num_key_value_heads", default=None) or heads,
        "head_dim": settings.count("head_dim", default=None) or width // heads,
        **read_rope(settings, settings.count("max_position_embeddings"), default_theta),
    }


def write_attention(config: ModelConfig) -> dict[str, Any]:
    return {
        "num_attention_heads": config.resolved_num_heads,
        "num_key_value_heads": config.resolved_num_kv_heads,
        "head_dim": config.resolved_head_dim,
        "attention_bias": False,
        **write_rope(config),
    }


def read_window(settings: Settings, default: int | None = None) -> dict[str, Any]:
    """Returns the mixer's name and, where attention has a window, its size."""
    window = settings.count("sliding_window", default=default, or_null=True)
    if window is None or window >= settings.count("max_position_embeddings"):
        return {"mixer": "attention"}
    return {"mixer": "sliding_attention", "sliding_window": window}
