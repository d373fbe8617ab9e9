"""Llama, and Mistral, which is Llama with a sliding window."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from highnoon.config import ModelConfig
from highnoon.models.causal_lm import LanguageModel
from highnoon.models.hugging_face.attention_settings import (
    read_attention,
    read_biased_attention,
    read_transformer,
    read_window,
    write_attention,
    write_transformer,
)
from highnoon.models.hugging_face.family import Family, layer_kinds, repeated_pattern
from highnoon.models.hugging_face.settings import Settings
from highnoon.models.hugging_face.stack_weights import (
    attention,
    frame_weights,
    gated_feed_forward,
    pair_norms,
    stack_layers,
)
from highnoon.models.hugging_face.tensor_rules import Weight

_MISTRAL_WINDOW = 4096  # the default of config.json


def _read(settings: Settings, mixer: str, attention: dict[str, Any]) -> dict[str, Any]:
    return {
        **read_transformer(settings),
        **attention,
        **repeated_pattern([f"{mixer}+mlp"] * settings.num_layers()),
        "ffn_dim": settings.count("intermediate_size"),
    }


def _read_llama(settings: Settings) -> dict[str, Any]:
    settings.require("rope_interleaved", False)
    settings.ignore("is_llama_config")
    has_bias = settings.flag("mlp_bias", default=False)
    return {**_read(settings, "attention", read_biased_attention(settings)), "ffn_bias": has_bias}


def _read_mistral(settings: Settings) -> dict[str, Any]:
    window = read_window(settings, default=_MISTRAL_WINDOW)
    return {**_read(settings, window.pop("mixer"), read_attention(settings)), **window}


def _write_llama(config: ModelConfig) -> dict[str, Any]:
    return {
        **write_transformer(config, len(layer_kinds(config))),
        **write_attention(config),
        "intermediate_size": config.resolved_ffn_dim,
        "mlp_bias": config.ffn_bias,
    }


def _write_mistral(config: ModelConfig) -> dict[str, Any]:
    settings = _write_llama(config)
    del settings["mlp_bias"], settings["attention_bias"]
    return {**settings, "sliding_window": config.resolved_sliding_window}


def dense_stack_weights(model: LanguageModel) -> Iterator[Weight]:
    """Yields the weights of attention and a gated feed-forward in each layer, under Llama's names."""
    yield from frame_weights(model, "model.embed_tokens.weight", "model.norm")
    for layer in stack_layers(model):
        prefix = f"model.layers.{layer.number}"
        yield from pair_norms(layer, prefix)
        yield from attention(layer.mixer, f"{prefix}.self_attn")
        yield from gated_feed_forward(layer.feed_forward, f"{prefix}.mlp")


LLAMA = Family("llama", "LlamaForCausalLM", "attention+mlp", _read_llama, _write_llama, dense_stack_weights)
MISTRAL = Family(
    "mistral",
    "MistralForCausalLM",
    "sliding_attention+mlp",
    _read_mistral,
    _write_mistral,
    dense_stack_weights,
)
