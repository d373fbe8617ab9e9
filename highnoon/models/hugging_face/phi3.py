"""Phi-3, Phi-3.5 and models of the same form: Llama with fused projections, and positions by LongRoPE."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from highnoon.config import ModelConfig
from highnoon.files.shown import shown
from highnoon.layers.attention.rope_frequencies import check_rope_scaling
from highnoon.models.causal_lm import LanguageModel
from highnoon.models.hugging_face.attention_settings import (
    read_heads,
    read_transformer,
    read_window,
    write_heads,
    write_transformer,
)
from highnoon.models.hugging_face.family import Family, layer_kinds, repeated_pattern
from highnoon.models.hugging_face.rope_settings import read_rope, write_rope
from highnoon.models.hugging_face.settings import Settings
from highnoon.models.hugging_face.stack_weights import dense, frame_weights, pair_norms, stack_layers
from highnoon.models.hugging_face.tensor_rules import TRANSPOSED, Weight, fused
from highnoon.models.saving import ModelFolderError

_CONTEXT = 4096  # the default of original_max_position_embeddings
_LONG = ("longrope", "su", "yarn")  # three names of one scaling in this family


def _read(settings: Settings) -> dict[str, Any]:
    settings.require("attention_bias", False)
    settings.require("partial_rotary_factor", 1.0, None)
    settings.ignore("resid_pdrop", "embd_pdrop")
    window = read_window(settings)
    return {
        **read_transformer(settings),
        **read_heads(settings),
        **repeated_pattern([f"{window.pop('mixer')}+mlp"] * settings.num_layers()),
        **window,
        **_read_positions(settings),
        "ffn_dim": settings.count("intermediate_size"),
    }


def _read_positions(settings: Settings) -> dict[str, Any]:
    """Returns the rotary fields and the context.

    LongRoPE changes every frequency once a sequence is longer than the original context. Up to that length
    the short factors hold, which is computed here; so the original context is the longest.
    """
    context = settings.count("original_max_position_embeddings", default=None) or _CONTEXT
    longest = settings.count("max_position_embeddings")
    given = settings.mapping("rope_parameters", "rope_scaling", default=None) or {}
    if given.get("rope_type", given.get("type", "default")) not in _LONG:
        fields = read_rope(settings, longest)
        if fields["rope_scaling"] is not None:
            settings.refuse("rope_scaling", "null or of type longrope")
        return fields
    theta = settings.number("rope_theta", default=None)
    if given.get("rope_theta") is not None:
        theta = settings.require_number("rope_theta", given["rope_theta"])
    partial = given.get("partial_rotary_factor")
    if partial not in (None, 1):
        raise ModelFolderError(f"`partial_rotary_factor` must be 1; received {shown(partial)}")
    left_out = ("type", "rope_type", "rope_theta", "partial_rotary_factor")
    scaling = {key: value for key, value in given.items() if key not in left_out and value is not None}
    scaling.setdefault("factor", max(1.0, longest / context))
    scaling |= {"rope_type": "longrope", "original_max_position_embeddings": context}
    theta = 10000.0 if theta is None else theta
    try:
        check_rope_scaling(theta, scaling)
    except ValueError as error:
        raise ModelFolderError(f"unsupported rotary positions: {error}") from error
    return {"rope_theta": theta, "rope_scaling": scaling, "max_seq_length": min(longest, context)}


def _write(config: ModelConfig) -> dict[str, Any]:
    kinds = layer_kinds(config)
    has_window = kinds[0].startswith("sliding_attention")
    settings = {
        **write_transformer(config, len(kinds)),
        **write_heads(config),
        **write_rope(config),
        "sliding_window": config.resolved_sliding_window if has_window else None,
        "intermediate_size": config.resolved_ffn_dim,
    }
    scaling = config.rope_scaling or {}
    if scaling.get("rope_type") != "longrope":
        return settings
    context = int(scaling["original_max_position_embeddings"])
    if config.max_seq_length == context:
        settings["max_position_embeddings"] = round(context * scaling["factor"])
    return {**settings, "original_max_position_embeddings": context}


def _weights(model: LanguageModel) -> Iterator[Weight]:
    yield from frame_weights(model, "model.embed_tokens.weight", "model.norm")
    for layer in stack_layers(model):
        prefix, mixer, inner = f"model.layers.{layer.number}", layer.mixer, layer.feed_forward
        yield from pair_norms(layer, prefix)
        heads = [mixer.query.kernel, mixer.key.kernel, mixer.value.kernel]
        yield from fused(heads, f"{prefix}.self_attn.qkv_proj.weight", TRANSPOSED, axis=0)
        yield dense(mixer.attention_output, f"{prefix}.self_attn.o_proj")
        gates = [inner.gate.kernel, inner.up.kernel]
        yield from fused(gates, f"{prefix}.mlp.gate_up_proj.weight", TRANSPOSED, axis=0)
        yield dense(inner.down, f"{prefix}.mlp.down_proj")


PHI3 = Family("phi3", "Phi3ForCausalLM", "attention+mlp and sliding_attention+mlp", _read, _write, _weights)
