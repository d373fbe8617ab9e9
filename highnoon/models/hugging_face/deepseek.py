"""DeepSeek-V2 and V3: latent attention, dense layers first, then mixtures of experts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from highnoon.config import ModelConfig
from highnoon.models.causal_lm import LanguageModel
from highnoon.models.hugging_face.attention_settings import read_transformer, write_transformer
from highnoon.models.hugging_face.family import Family, layer_kinds, repeated_pattern
from highnoon.models.hugging_face.rope_settings import read_rope, write_rope
from highnoon.models.hugging_face.settings import Settings
from highnoon.models.hugging_face.stack_weights import (
    StackLayer,
    dense,
    experts,
    frame_weights,
    gated_feed_forward,
    norm,
    pair_norms,
    stack_layers,
)
from highnoon.models.hugging_face.tensor_rules import SAME, Weight
from highnoon.models.saving import ModelFolderError

_LATENT_SIZES = ("kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
_DENSE, _MIXTURE = "latent_attention+mlp", "latent_attention+moe"
_PATTERNS = f"{_DENSE}, then {_MIXTURE}"
_LAYER = re.compile(r"model\.layers\.(\d+)\.")


def _read(settings: Settings) -> dict[str, Any]:
    """Returns the fields that both generations share."""
    settings.require("attention_bias", False)
    settings.require("moe_layer_freq", 1)
    settings.require("rms_norm_eps", 1e-6)  # the norms of the latents use it whatever config.json says
    heads, layers = settings.count("num_attention_heads"), settings.num_layers()
    settings.require("num_key_value_heads", heads, None)
    settings.ignore("head_dim", "qk_head_dim", "ep_size", "seq_aux", "aux_loss_alpha")
    first = min(settings.count("first_k_dense_replace", default=0, low=0), layers)
    groups = settings.count("n_group", default=None) or 1
    return {
        **read_transformer(settings),
        **repeated_pattern([_DENSE] * first + [_MIXTURE] * (layers - first)),
        **{name: settings.count(name, or_null=name == "q_lora_rank") for name in _LATENT_SIZES},
        **read_rope(settings, settings.count("max_position_embeddings")),
        "num_heads": heads,
        "ffn_dim": settings.count("intermediate_size"),
        "expert_dim": settings.count("moe_intermediate_size"),
        "num_moe_experts": settings.count("n_routed_experts", "num_experts", "num_local_experts"),
        "num_experts_per_tok": settings.count("num_experts_per_tok"),
        "num_shared_experts": settings.count("n_shared_experts", default=None, low=0) or 0,
        "routed_scale": settings.number("routed_scaling_factor", default=1.0),
        "num_expert_groups": groups,
        "num_groups_per_tok": settings.count("topk_group", default=None) or groups,
    }


def _read_v2(settings: Settings) -> dict[str, Any]:
    settings.require("mlp_bias", False)
    settings.require("scoring_func", "softmax")
    settings.require("norm_topk_prob", False, None)
    fields = _read(settings)
    if settings.require("topk_method", "greedy", "group_limited_greedy") == "greedy":
        fields.update(num_expert_groups=1, num_groups_per_tok=1)
    return {**fields, "router_type": "top_k", "normalize_gates": False}


def _read_v3(settings: Settings) -> dict[str, Any]:
    settings.require("scoring_func", "sigmoid")
    settings.require("topk_method", "noaux_tc")
    settings.require("rope_interleave", True)
    settings.ignore("num_nextn_predict_layers", "num_mtp_layers")
    normalizes = settings.flag("norm_topk_prob", default=True)
    # The bias alone balances the load, so no loss may act on the router.
    return {
        **_read(settings),
        "router_type": "sigmoid",
        "normalize_gates": normalizes,
        "aux_loss_weight": 0.0,
        "router_z_loss_weight": 0.0,
    }


def _write(config: ModelConfig) -> dict[str, Any]:
    kinds = layer_kinds(config)
    if _MIXTURE in kinds and not config.num_shared_experts:
        raise ModelFolderError("DeepSeek's mixtures have shared experts and `num_shared_experts` is 0")
    latent, plain, rotary, value = config.resolved_latent_dims
    return {
        **write_transformer(config, len(kinds)),
        **write_rope(config),
        "num_attention_heads": config.resolved_num_heads,
        "num_key_value_heads": config.resolved_num_heads,
        "attention_bias": False,
        "kv_lora_rank": latent,
        "q_lora_rank": config.q_lora_rank,
        "qk_nope_head_dim": plain,
        "qk_rope_head_dim": rotary,
        "v_head_dim": value,
        "first_k_dense_replace": kinds.count(_DENSE),
        "intermediate_size": config.resolved_ffn_dim,
        "moe_intermediate_size": config.resolved_expert_dim,
        "n_routed_experts": config.num_moe_experts,
        "num_experts_per_tok": config.num_experts_per_tok,
        "n_shared_experts": config.num_shared_experts,
        "routed_scaling_factor": config.routed_scale,
        "n_group": config.num_expert_groups,
        "topk_group": config.num_groups_per_tok,
    }


def _write_v2(config: ModelConfig) -> dict[str, Any]:
    method = "greedy" if config.num_expert_groups == 1 else "group_limited_greedy"
    return {**_write(config), "topk_method": method, "norm_topk_prob": False, "mlp_bias": False}


def _write_v3(config: ModelConfig) -> dict[str, Any]:
    return {
        **_write(config),
        "norm_topk_prob": config.normalize_gates,
        "rope_interleave": True,
        "num_nextn_predict_layers": 0,
    }


def _weights(model: LanguageModel) -> Iterator[Weight]:
    yield from frame_weights(model, "model.embed_tokens.weight", "model.norm")
    kinds = layer_kinds(model.config)
    for layer in stack_layers(model):
        prefix = f"model.layers.{layer.number}"
        yield from pair_norms(layer, prefix)
        yield from _latent_attention(layer, f"{prefix}.self_attn")
        feed_forward = _mixture if kinds[layer.number] == _MIXTURE else gated_feed_forward
        yield from feed_forward(layer.feed_forward, f"{prefix}.mlp")


def _latent_attention(layer: StackLayer, prefix: str) -> Iterator[Weight]:
    mixer = layer.mixer
    queries = ("q_proj",) if mixer.q_lora_rank is None else ("q_a_proj", "q_b_proj")
    for name in (*queries, "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"):
        yield dense(getattr(mixer, name), f"{prefix}.{name}")
    for name in ("q_a_layernorm", "kv_a_layernorm") if mixer.q_lora_rank else ("kv_a_layernorm",):
        yield norm(getattr(mixer, name), f"{prefix}.{name}")


def _mixture(layer: Any, prefix: str) -> Iterator[Weight]:
    yield from experts(layer, prefix)
    if layer.num_shared_experts:
        yield from gated_feed_forward(layer.shared_expert, f"{prefix}.shared_experts")
    if layer.router_type == "sigmoid":
        yield Weight(layer.expert_bias, (f"{prefix}.gate.e_score_correction_bias",), SAME)


def _is_beyond_the_stack(name: str, config: ModelConfig) -> bool:
    """Modules that predict further tokens are listed as layers after the last one; they are not loaded."""
    match = _LAYER.match(name)
    return bool(match) and int(match.group(1)) >= len(layer_kinds(config))


DEEPSEEK_V2 = Family("deepseek_v2", "DeepseekV2ForCausalLM", _PATTERNS, _read_v2, _write_v2, _weights)
DEEPSEEK_V3 = Family(
    "deepseek_v3",
    "DeepseekV3ForCausalLM",
    f'{_PATTERNS} with router_type="sigmoid"',
    _read_v3,
    _write_v3,
    _weights,
    is_left_out=_is_beyond_the_stack,
)
