"""What a configuration says about the function that a model computes, and nothing else."""

from __future__ import annotations

from typing import Any

from highnoon.config import ModelConfig
from highnoon.models.hugging_face.family import layer_kinds
from highnoon.models.hugging_face.rope_settings import same_rope

TRAINING_ALONE = frozenset(
    {
        "capacity_factor",
        "aux_loss_weight",
        "router_z_loss_weight",
        "bias_update_rate",
        "load_entropy_weight",
        "dropout",
    }
)
"""Fields that no logit of inference depends on."""


def meaning(config: ModelConfig) -> dict[str, Any]:
    """Returns the settings that a model of `config` uses, defaults written out; equal where functions are.

    Example:

    ```python
    from highnoon.config import ModelConfig
    from highnoon.models.hugging_face.meaning import meaning

    shape = {"embedding_dim": 64, "block_pattern": "attention+mlp"}
    assert meaning(ModelConfig(num_heads=1, **shape)) == meaning(ModelConfig(num_moe_experts=3, **shape))
    ```
    """
    kinds = layer_kinds(config)
    words = {word for kind in kinds for word in kind.split("+")}
    used = {"layers": kinds}
    for name in ("vocab_size", "embedding_dim", "max_seq_length", "norm_epsilon", "tie_embeddings"):
        used[name] = getattr(config, name)
    for word in words:
        used.update(_USED_BY[word](config))
    return used


def _attention(config: ModelConfig) -> dict[str, Any]:
    return {
        "num_heads": config.resolved_num_heads,
        "num_kv_heads": config.resolved_num_kv_heads,
        "head_dim": config.resolved_head_dim,
        "qk_norm": config.qk_norm,
        **_rope(config),
    }


def _sliding_attention(config: ModelConfig) -> dict[str, Any]:
    return {**_attention(config), "sliding_window": config.resolved_sliding_window}


def _latent_attention(config: ModelConfig) -> dict[str, Any]:
    names = ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
    return {
        **dict(zip(names, config.resolved_latent_dims, strict=True)),
        "num_heads": config.resolved_num_heads,
        "q_lora_rank": config.q_lora_rank,
        **_rope(config),
    }


def _rope(config: ModelConfig) -> dict[str, Any]:
    return {"rope_theta": config.rope_theta, "rope_scaling": same_rope(config.rope_scaling)}


def _mamba(config: ModelConfig) -> dict[str, Any]:
    return {
        "state_dim": config.state_dim or 16,
        "ssm_time_step_rank": config.ssm_time_step_rank or -(-config.embedding_dim // 16),
        **_convolution(config),
    }


def _mamba2(config: ModelConfig) -> dict[str, Any]:
    return {
        "state_dim": config.state_dim or 64,
        "ssm_head_dim": config.resolved_ssm_head_dim,
        "ssm_num_groups": config.ssm_num_groups,
        **_convolution(config),
    }


def _convolution(config: ModelConfig) -> dict[str, Any]:
    return {"ssm_expand": config.ssm_expand, "conv_kernel_size": config.conv_kernel_size}


def _mlp(config: ModelConfig) -> dict[str, Any]:
    return {"ffn_dim": config.resolved_ffn_dim}


def _moe(config: ModelConfig) -> dict[str, Any]:
    names = (
        "num_moe_experts",
        "num_experts_per_tok",
        "num_shared_experts",
        "router_type",
        "normalize_gates",
        "routed_scale",
        "num_expert_groups",
        "num_groups_per_tok",
    )
    return {"expert_dim": config.resolved_expert_dim, **{name: getattr(config, name) for name in names}}


_USED_BY = {
    "attention": _attention,
    "sliding_attention": _sliding_attention,
    "latent_attention": _latent_attention,
    "mamba": _mamba,
    "mamba2": _mamba2,
    "gated_delta_rule": lambda config: {},  # no family has it: its pattern alone decides
    "mlp": _mlp,
    "moe": _moe,
}
