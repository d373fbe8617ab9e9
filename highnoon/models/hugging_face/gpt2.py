"""GPT-2: learned positions, layer norms, biases everywhere, and feed-forwards without a gate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

from highnoon.config import ModelConfig
from highnoon.models.causal_lm import LanguageModel
from highnoon.models.hugging_face.activation_settings import read_activation, write_activation
from highnoon.models.hugging_face.family import Family, layer_kinds, repeated_pattern
from highnoon.models.hugging_face.settings import Settings
from highnoon.models.hugging_face.stack_weights import stack_layers
from highnoon.models.hugging_face.tensor_rules import SAME, TRANSPOSED, Weight, fused


def _read(settings: Settings) -> dict[str, Any]:
    settings.require("scale_attn_weights", True)
    settings.require("scale_attn_by_inverse_layer_idx", False)
    settings.require("add_cross_attention", False)
    # Dropout, choices among equal computations, heads of other tasks, and defaults of generation.
    settings.ignore(
        "resid_pdrop",
        "embd_pdrop",
        "attn_pdrop",
        "reorder_and_upcast_attn",
        "gradient_checkpointing",
        "summary_type",
        "summary_use_proj",
        "summary_activation",
        "summary_proj_to_labels",
        "summary_first_dropout",
        "task_specific_params",
        "id2label",
        "label2id",
        "_num_labels",
        "n_ctx",
    )
    width, heads = settings.count("n_embd", "hidden_size"), settings.count("n_head", "num_attention_heads")
    if width % heads:
        settings.refuse("n_embd", f"a multiple of n_head={heads}")
    return {
        "vocab_size": settings.count("vocab_size"),
        "embedding_dim": width,
        "max_seq_length": settings.count("n_positions", "max_position_embeddings"),
        **repeated_pattern(["attention+plain_mlp"] * settings.num_layers("n_layer", "num_hidden_layers")),
        "num_heads": heads,
        "num_kv_heads": heads,
        "head_dim": width // heads,
        "attention_bias": "all",
        "position_embedding": "learned",
        "norm_type": "layer",
        "norm_epsilon": settings.number("layer_norm_epsilon", default=1e-5),
        "ffn_dim": settings.count("n_inner", default=None) or 4 * width,
        "ffn_activation": read_activation(settings, "activation_function", "gelu_new"),
        "ffn_bias": True,
        "tie_embeddings": settings.flag("tie_word_embeddings", default=True),
    }


def _write(config: ModelConfig) -> dict[str, Any]:
    return {
        "vocab_size": config.vocab_size,
        "n_embd": config.embedding_dim,
        "n_layer": len(layer_kinds(config)),
        "n_head": config.resolved_num_heads,
        "n_positions": config.max_seq_length,
        "n_inner": config.resolved_ffn_dim,
        "activation_function": write_activation(config),
        "layer_norm_epsilon": config.norm_epsilon,
        "tie_word_embeddings": config.tie_embeddings,
    }


def _weights(model: LanguageModel) -> Iterator[Weight]:
    backbone = model.backbone
    yield Weight(backbone.token_embedding.embeddings, ("transformer.wte.weight",), SAME)
    yield Weight(backbone.learned_positions.embeddings, ("transformer.wpe.weight",), SAME)
    for layer in stack_layers(model):
        prefix, mixer = f"transformer.h.{layer.number}", layer.mixer
        heads = [mixer.query, mixer.key, mixer.value]
        yield from _layer_norm(layer.mixer_norm, f"{prefix}.ln_1")
        yield from fused([one.kernel for one in heads], f"{prefix}.attn.c_attn.weight", SAME, axis=1)
        yield from fused([one.bias for one in heads], f"{prefix}.attn.c_attn.bias", SAME, axis=0)
        yield from _projection(mixer.attention_output, f"{prefix}.attn.c_proj")
        yield from _layer_norm(layer.feed_forward_norm, f"{prefix}.ln_2")
        yield from _projection(layer.feed_forward.up, f"{prefix}.mlp.c_fc")
        yield from _projection(layer.feed_forward.down, f"{prefix}.mlp.c_proj")
    yield from _layer_norm(backbone.final_norm, "transformer.ln_f")
    if not model.config.tie_embeddings:
        yield Weight(backbone.token_embedding.reverse_embeddings, ("lm_head.weight",), TRANSPOSED)


def _projection(layer: keras.Layer, name: str) -> Iterator[Weight]:
    """This family's kernels are (inputs, outputs), as they are here."""
    yield Weight(layer.kernel, (f"{name}.weight",), SAME)
    yield Weight(layer.bias, (f"{name}.bias",), SAME)


def _layer_norm(layer: keras.Layer, name: str) -> Iterator[Weight]:
    yield Weight(layer.gamma, (f"{name}.weight",), SAME)
    yield Weight(layer.beta, (f"{name}.bias",), SAME)


GPT2 = Family(
    "gpt2",
    "GPT2LMHeadModel",
    'attention+plain_mlp with position_embedding="learned", norm_type="layer", attention_bias="all" and '
    "ffn_bias=True",
    _read,
    _write,
    _weights,
    prefix="transformer.",
    computed=(".attn.bias", ".attn.masked_bias"),
)
