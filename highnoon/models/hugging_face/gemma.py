"""Gemma: norms around 1, GeGLU, scaled embeddings; Gemma 2 adds windows, norms of outputs and soft caps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from highnoon.config import ModelConfig
from highnoon.models.causal_lm import LanguageModel
from highnoon.models.hugging_face.activation_settings import read_activation, write_activation
from highnoon.models.hugging_face.attention_settings import (
    read_biased_attention,
    read_layer_types,
    write_attention,
    write_layer_types,
)
from highnoon.models.hugging_face.family import Family, layer_kinds, repeated_pattern
from highnoon.models.hugging_face.llama import dense_stack_weights
from highnoon.models.hugging_face.settings import Settings
from highnoon.models.hugging_face.stack_weights import (
    attention,
    frame_weights,
    gated_feed_forward,
    norm,
    stack_layers,
)
from highnoon.models.hugging_face.tensor_rules import Weight

# The defaults of config.json.
_HEAD_DIM, _WINDOW, _SCALAR = 256, 4096, 256
_ATTENTION_CAP, _LOGIT_CAP = 50.0, 30.0
_ACTIVATION = "gelu_pytorch_tanh"


def _read_shared(settings: Settings) -> dict[str, Any]:
    settings.require("use_bidirectional_attention", None, False)
    return {
        "vocab_size": settings.count("vocab_size"),
        "embedding_dim": settings.count("hidden_size"),
        "max_seq_length": settings.count("max_position_embeddings"),
        **read_biased_attention(settings, _HEAD_DIM),
        "norm_type": "zero_centered_rms",
        "norm_epsilon": settings.number("rms_norm_eps", default=1e-6),
        "scale_embeddings": True,
        "ffn_dim": settings.count("intermediate_size"),
        "tie_embeddings": settings.flag("tie_word_embeddings", default=True),
    }


def _read_gemma(settings: Settings) -> dict[str, Any]:
    settings.require("hidden_activation", None, _ACTIVATION)
    settings.require("hidden_act", _ACTIVATION, "gelu")  # "gelu" of the first files means this one
    return {
        **_read_shared(settings),
        **repeated_pattern(["attention+mlp"] * settings.num_layers()),
        "ffn_activation": "gelu_tanh",
    }


def _read_gemma2(settings: Settings) -> dict[str, Any]:
    activation = read_activation(settings, "hidden_activation", _ACTIVATION)
    if read_activation(settings, "hidden_act", _ACTIVATION) != activation:
        settings.refuse("hidden_act", "what `hidden_activation` is")
    settings.ignore("cache_implementation")
    width, heads = settings.count("hidden_size"), settings.count("num_attention_heads")
    if width % heads:
        settings.refuse("hidden_size", f"a multiple of num_attention_heads={heads}")
    window = settings.count("sliding_window", default=_WINDOW, or_null=True)

    def layer_type(number: int) -> str:
        return "full_attention" if number % 2 or window is None else "sliding_attention"

    return {
        **_read_shared(settings),
        **read_layer_types(settings, window, layer_type),
        "post_norms": True,
        "query_pre_attn_scalar": settings.count("query_pre_attn_scalar", default=_SCALAR),
        "attention_softcap": settings.number("attn_logit_softcapping", default=_ATTENTION_CAP, or_null=True),
        "logit_softcap": settings.number("final_logit_softcapping", default=_LOGIT_CAP, or_null=True),
        "ffn_activation": activation,
    }


def _write_gemma(config: ModelConfig) -> dict[str, Any]:
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.embedding_dim,
        "num_hidden_layers": len(layer_kinds(config)),
        "max_position_embeddings": config.max_seq_length,
        **write_attention(config),
        "rms_norm_eps": config.norm_epsilon,
        "intermediate_size": config.resolved_ffn_dim,
        "hidden_act": _ACTIVATION,
        "tie_word_embeddings": config.tie_embeddings,
    }


def _write_gemma2(config: ModelConfig) -> dict[str, Any]:
    activation = write_activation(config)
    return {
        **_write_gemma(config),
        **write_layer_types(config),
        "query_pre_attn_scalar": config.query_pre_attn_scalar or config.resolved_head_dim,
        "attn_logit_softcapping": config.attention_softcap,
        "final_logit_softcapping": config.logit_softcap,
        "hidden_act": activation,
        "hidden_activation": activation,
    }


def _gemma2_weights(model: LanguageModel) -> Iterator[Weight]:
    yield from frame_weights(model, "model.embed_tokens.weight", "model.norm")
    for layer in stack_layers(model):
        prefix = f"model.layers.{layer.number}"
        yield norm(layer.mixer_norm, f"{prefix}.input_layernorm")
        yield norm(layer.mixer_post_norm, f"{prefix}.post_attention_layernorm")
        yield norm(layer.feed_forward_norm, f"{prefix}.pre_feedforward_layernorm")
        yield norm(layer.feed_forward_post_norm, f"{prefix}.post_feedforward_layernorm")
        yield from attention(layer.mixer, f"{prefix}.self_attn")
        yield from gated_feed_forward(layer.feed_forward, f"{prefix}.mlp")


GEMMA = Family(
    "gemma",
    "GemmaForCausalLM",
    'attention+mlp with norm_type="zero_centered_rms", scale_embeddings=True and ffn_activation="gelu_tanh"',
    _read_gemma,
    _write_gemma,
    dense_stack_weights,
)
GEMMA2 = Family(
    "gemma2",
    "Gemma2ForCausalLM",
    'attention+mlp and sliding_attention+mlp with norm_type="zero_centered_rms", scale_embeddings=True and '
    "post_norms=True",
    _read_gemma2,
    _write_gemma2,
    _gemma2_weights,
)
