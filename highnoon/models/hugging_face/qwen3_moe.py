"""Qwen3-MoE: attention with norms on queries and keys, mixtures of experts in chosen layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from highnoon.config import ModelConfig
from highnoon.models.causal_lm import LanguageModel
from highnoon.models.hugging_face.attention_settings import (
    read_biased_attention,
    read_transformer,
    write_attention,
    write_transformer,
)
from highnoon.models.hugging_face.family import Family, layer_kinds, repeated_pattern
from highnoon.models.hugging_face.settings import Settings
from highnoon.models.hugging_face.stack_weights import (
    attention,
    experts,
    frame_weights,
    gated_feed_forward,
    pair_norms,
    stack_layers,
)
from highnoon.models.hugging_face.tensor_rules import Weight


def _read(settings: Settings) -> dict[str, Any]:
    settings.require("use_sliding_window", False)
    settings.ignore("sliding_window", "max_window_layers")  # without effect unless it is true
    dense = settings.layer_numbers("mlp_only_layers")
    step = settings.count("decoder_sparse_step", default=1)
    kinds = [
        "attention+moe" if number not in dense and (number + 1) % step == 0 else "attention+mlp"
        for number in range(settings.num_layers())
    ]
    return {
        **read_transformer(settings),
        **read_biased_attention(settings),
        **repeated_pattern(kinds),
        "qk_norm": True,
        "ffn_dim": settings.count("intermediate_size"),
        "expert_dim": settings.count("moe_intermediate_size"),
        "num_moe_experts": settings.count("num_experts", "num_local_experts"),
        "num_experts_per_tok": settings.count("num_experts_per_tok"),
        "normalize_gates": settings.flag("norm_topk_prob", default=False),
    }


def _write(config: ModelConfig) -> dict[str, Any]:
    kinds = layer_kinds(config)
    return {
        **write_transformer(config, len(kinds)),
        **write_attention(config),
        "mlp_only_layers": [number for number, kind in enumerate(kinds) if kind == "attention+mlp"],
        "decoder_sparse_step": 1,
        "intermediate_size": config.resolved_ffn_dim,
        "moe_intermediate_size": config.resolved_expert_dim,
        "num_experts": config.num_moe_experts,
        "num_experts_per_tok": config.num_experts_per_tok,
        "norm_topk_prob": config.normalize_gates,
        "use_sliding_window": False,
    }


def _weights(model: LanguageModel) -> Iterator[Weight]:
    yield from frame_weights(model, "model.embed_tokens.weight", "model.norm")
    kinds = layer_kinds(model.config)
    for layer in stack_layers(model):
        prefix = f"model.layers.{layer.number}"
        feed_forward = experts if kinds[layer.number] == "attention+moe" else gated_feed_forward
        yield from pair_norms(layer, prefix)
        yield from attention(layer.mixer, f"{prefix}.self_attn")
        yield from feed_forward(layer.feed_forward, f"{prefix}.mlp")


QWEN3_MOE = Family(
    "qwen3_moe",
    "Qwen3MoeForCausalLM",
    "attention+moe and attention+mlp with qk_norm=True",
    _read,
    _write,
    _weights,
)
