"""Settings that the families with grouped-query attention share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from highnoon.config import ModelConfig
from highnoon.models.hugging_face.family import layer_kinds, repeated_pattern
from highnoon.models.hugging_face.rope_settings import read_rope, write_rope
from highnoon.models.hugging_face.settings import Settings

_FULL, _SLIDING = "full_attention", "sliding_attention"
_LAYER_TYPES = (_FULL, _SLIDING)
_MIXERS = {_FULL: "attention", _SLIDING: "sliding_attention"}


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


def read_heads(settings: Settings, head_dim: int | None = None) -> dict[str, Any]:
    """Returns the fields of grouped heads; `head_dim` is the default, None for the width over the heads."""
    width, heads = settings.count("hidden_size"), settings.count("num_attention_heads")
    return {
        "num_heads": heads,
        "num_kv_heads": settings.count("num_key_value_heads", default=None) or heads,
        "head_dim": settings.count("head_dim", default=head_dim, or_null=True) or width // heads,
    }


def read_attention(
    settings: Settings, default_theta: float = 10000.0, head_dim: int | None = None
) -> dict[str, Any]:
    """Returns the fields of grouped-query attention without biases."""
    settings.require("attention_bias", False)
    return {
        **read_heads(settings, head_dim),
        **read_rope(settings, settings.count("max_position_embeddings"), default_theta),
    }


def read_biased_attention(settings: Settings, head_dim: int | None = None) -> dict[str, Any]:
    """Returns the fields of grouped-query attention, with biases on all projections or on none."""
    has_bias = settings.flag("attention_bias", default=False)
    return {
        **read_heads(settings, head_dim),
        **read_rope(settings, settings.count("max_position_embeddings")),
        "attention_bias": "all" if has_bias else "none",
    }


def write_heads(config: ModelConfig) -> dict[str, Any]:
    return {
        "num_attention_heads": config.resolved_num_heads,
        "num_key_value_heads": config.resolved_num_kv_heads,
        "head_dim": config.resolved_head_dim,
    }


def write_attention(config: ModelConfig) -> dict[str, Any]:
    has_bias = config.attention_bias == "all"
    return {**write_heads(config), "attention_bias": has_bias, **write_rope(config)}


def read_window(settings: Settings, default: int | None = None) -> dict[str, Any]:
    """Returns the mixer's name and, where attention has a window, its size."""
    window = settings.count("sliding_window", default=default, or_null=True)
    if window is None or window >= settings.count("max_position_embeddings"):
        return {"mixer": "attention"}
    return {"mixer": "sliding_attention", "sliding_window": window}


def read_layer_types(settings: Settings, window: int | None, types: Callable[[int], str]) -> dict[str, Any]:
    """Returns the pattern of a dense stack whose layers have windows or not, and the window.

    Args:
        settings: The settings; `layer_types`, where it is given, decides.
        window: The size of a window; None where no layer has one.
        types: The type of a layer, by its number, where `layer_types` is absent.
    """
    num_layers = settings.num_layers()
    given = settings.words("layer_types", _LAYER_TYPES, num_layers)
    kinds = given or [types(number) for number in range(num_layers)]
    if window is None and _SLIDING in kinds:
        settings.refuse("sliding_window", "in use, since `layer_types` has sliding_attention")
    if window is None or window >= settings.count("max_position_embeddings"):
        kinds = [_FULL] * num_layers
    pattern = repeated_pattern([f"{_MIXERS[kind]}+mlp" for kind in kinds])
    return {**pattern, "sliding_window": window} if _SLIDING in kinds else pattern


def write_layer_types(config: ModelConfig) -> dict[str, Any]:
    """Returns `layer_types` and `sliding_window`."""
    kinds = [_SLIDING if kind.startswith(_SLIDING) else _FULL for kind in layer_kinds(config)]
    window = config.resolved_sliding_window if _SLIDING in kinds else None
    return {"layer_types": kinds, "sliding_window": window}
