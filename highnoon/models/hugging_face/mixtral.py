"""Mixtral: grouped-query attention, and a mixture of experts in every layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from highnoon.config import ModelConfig
from highnoon.models.causal_lm import LanguageModel
from highnoon.models.hugging_face.attention_settings import (
    read_attention,
    read_transformer,
    read_window,
    write_attention,
    write_transformer,
)
from highnoon.models.hugging_face.family import Family, layer_kinds, repeated_pattern
from highnoon.models.hugging_face.settings import Settings
from highnoon.models.hugging_face.stack_weights import (
    attention,
    experts,
    frame_weights,
    pair_norms,
    stack_layers,
)
from highnoon.models.hugging_face.tensor_rules import Weight

_THETA = 1e6  # the default of config.json


def _read(settings: Settings) -> dict[str, Any]:
    window = read_window(settings)
    mixer = window.pop("mixer")
    return {
        **read_transformer(settings),
        **read_attention(settings, _THETA),
        **repeated_pattern([f"{mixer}+moe"] * settings.num_layers()),
        **window,
        "expert_dim": settings.count("intermediate_size"),
        "num_moe_experts": settings.count("num_local_experts"),
        "num_experts_per_tok": settings.count("num_experts_per_tok"),
    }


def _write(config: ModelConfig) -> dict[str, Any]:
    kinds = layer_kinds(config)
    settings = write_attention(config)
    del settings["attention_bias"]
    return {
        **write_transformer(config, len(kinds)),
        **settings,
        "sliding_window": config.resolved_sliding_window if kinds[0] == "sliding_attention+moe" else None,
        "intermediate_size": config.resolved_expert_dim,
        "num_local_experts": config.num_moe_experts,
        "num_experts_per_tok": config.num_experts_per_tok,
    }


def _weights(model: LanguageModel) -> Iterator[Weight]:
    yield from frame_weights(model, "model.embed_tokens.weight", "model.norm")
    for layer in stack_layers(model):
        prefix = f"model.layers.{layer.number}"
        yield from pair_norms(layer, prefix)
        yield from attention(layer.mixer, f"{prefix}.self_attn")
        yield from experts(layer.feed_forward, f"{prefix}.block_sparse_moe", ("w1", "w3", "w2"))


MIXTRAL = Family(
    "mixtral", "MixtralForCausalLM", "attention+moe or sliding_attention+moe", _read, _write, _weights
)
