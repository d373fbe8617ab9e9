"""Fields of the dense families that are more than Llama's."""

from __future__ import annotations

from typing import Any


def dense_fields(head_dim: int) -> dict[str, dict[str, Any]]:
    """Returns the `ModelConfig` fields of each family that tell it from the others.

    Args:
        head_dim: Of the models; Phi-3 has a factor for each pair of its features.
    """
    return {
        "qwen2": {
            "block_pattern": "attention+mlp, sliding_attention+mlp",
            "sliding_window": 8,
            "attention_bias": "qkv",
        },
        "qwen3": {"block_pattern": "attention+mlp", "qk_norm": True},
        "phi3": {
            "block_pattern": "attention+mlp",
            "rope_scaling": {
                "rope_type": "longrope",
                "factor": 4.0,
                "original_max_position_embeddings": 64,
                "short_factor": [1.0] * (head_dim // 2),
                "long_factor": [2.0] * (head_dim // 2),
            },
        },
        "gemma": {
            "block_pattern": "attention+mlp",
            "norm_type": "zero_centered_rms",
            "scale_embeddings": True,
            "ffn_activation": "gelu_tanh",
        },
        "gemma2": {
            "block_pattern": "sliding_attention+mlp, attention+mlp",
            "sliding_window": 8,
            "norm_type": "zero_centered_rms",
            "scale_embeddings": True,
            "post_norms": True,
            "attention_softcap": 50.0,
            "logit_softcap": 30.0,
            "ffn_activation": "gelu_tanh",
        },
        "gpt2": {
            "block_pattern": "attention+plain_mlp",
            "position_embedding": "learned",
            "norm_type": "layer",
            "attention_bias": "all",
            "ffn_activation": "gelu_tanh",
            "ffn_bias": True,
        },
    }
