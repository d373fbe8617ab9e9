"""Small random models of `transformers`, saved as folders, in which every weight and setting matters."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import highnoon as hn

SHAPE = {"vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 3, "max_position_embeddings": 64}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
LATENT = {
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "kv_lora_rank": 16,
    "q_lora_rank": 12,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 6,
    "first_k_dense_replace": 1,
    "intermediate_size": 48,
    "moe_intermediate_size": 20,
    "n_routed_experts": 8,
    "num_experts_per_tok": 3,
    "n_shared_experts": 2,
    "n_group": 4,
    "topk_group": 2,
    "routed_scaling_factor": 1.7,
}
STATE = {"vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, "conv_kernel": 3}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 500.0,
    "factor": 4.0,
    "mscale": 0.8,
    "mscale_all_dim": 0.6,
    "beta_fast": 8.0,
    "original_max_position_embeddings": 16,
}
YARN_PLAIN = {
    "rope_type": "yarn",
    "rope_theta": 500.0,
    "factor": 4.0,
    "beta_fast": 8.0,
    "original_max_position_embeddings": 16,
}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 500.0,
    "short_factor": [1.0, 1.1, 1.3, 1.6],
    "long_factor": [2.0, 3.0, 4.0, 5.0],
}

SETTINGS: dict[str, dict[str, Any]] = {
    "llama": {**SHAPE, **HEADS, "intermediate_size": 48, "rope_parameters": LLAMA3, "rms_norm_eps": 1e-3},
    "mistral": {
        **SHAPE,
        **HEADS,
        "intermediate_size": 48,
        "head_dim": 16,
        "sliding_window": 5,
        "tie_word_embeddings": True,
    },
    "qwen2": {
        **SHAPE,
        **HEADS,
        "intermediate_size": 48,
        "use_sliding_window": True,
        "sliding_window": 5,
        "max_window_layers": 1,
        "tie_word_embeddings": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": 500.0},
        "rms_norm_eps": 1e-4,
    },
    "qwen3": {
        **SHAPE,
        **HEADS,
        "head_dim": 10,
        "intermediate_size": 48,
        "attention_bias": True,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "use_sliding_window": True,
        "sliding_window": 6,
        "rope_parameters": YARN_PLAIN,
    },
    "phi3": {
        **SHAPE,
        **HEADS,
        "intermediate_size": 48,
        "pad_token_id": 0,
        "sliding_window": 9,
        "max_position_embeddings": 96,
        "original_max_position_embeddings": 24,
        "rope_parameters": LONGROPE,
        "rms_norm_eps": 1e-3,
    },
    "gemma": {
        **SHAPE,
        **HEADS,
        "head_dim": 10,
        "intermediate_size": 48,
        "hidden_act": "gelu_pytorch_tanh",
        "rms_norm_eps": 1e-3,
    },
    "gemma2": {
        **SHAPE,
        **HEADS,
        "head_dim": 10,
        "intermediate_size": 48,
        "sliding_window": 5,
        "query_pre_attn_scalar": 24,
        "attn_logit_softcapping": 2.5,
        "final_logit_softcapping": 12.0,
        "tie_word_embeddings": False,
        "attention_bias": True,
        "rms_norm_eps": 1e-3,
    },
    "gpt2": {
        "vocab_size": 61,
        "n_embd": 32,
        "n_layer": 3,
        "n_head": 4,
        "n_inner": 40,
        "n_positions": 64,
        "layer_norm_epsilon": 1e-3,
        "bos_token_id": 0,
        "eos_token_id": 0,
    },
    "mixtral": {**SHAPE, **HEADS, "intermediate_size": 24, "num_local_experts": 5, "num_experts_per_tok": 2},
    "qwen3_moe": {
        **SHAPE,
        **HEADS,
        "head_dim": 10,
        "intermediate_size": 48,
        "moe_intermediate_size": 24,
        "num_experts": 6,
        "num_experts_per_tok": 3,
        "norm_topk_prob": False,
        "mlp_only_layers": [1],
        "rms_norm_eps": 1e-4,
    },
    "deepseek_v2": {
        **SHAPE,
        **LATENT,
        "q_lora_rank": None,
        "topk_method": "group_limited_greedy",
        "rope_parameters": YARN,
    },
    "deepseek_v3": {**SHAPE, **LATENT, "rope_parameters": YARN},
    "mamba": {**STATE, "time_step_rank": 3},
    "mamba2": {**STATE, "num_heads": 8, "head_dim": 8, "n_groups": 2, "layer_norm_epsilon": 1e-3},
}


def randomize(model: Any, seed: int = 0) -> None:
    """Draws every parameter and saved buffer anew: no norm of ones, no bias of zeros."""
    import torch

    torch.manual_seed(seed)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.ndim == 1 or name.endswith("A_log"):
                value.add_(0.3 * torch.randn_like(value))
            else:
                value.copy_(torch.randn_like(value) * (1.5 / value.shape[-1] ** 0.5))


@functools.cache
def make_published(name: str, **changes: Any) -> Any:
    """Returns a random model of `transformers`."""
    import transformers

    config = transformers.AutoConfig.for_model(name, **SETTINGS[name], **changes)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    randomize(model)
    return model


@pytest.fixture(scope="session")
def published() -> Callable[..., Any]:
    return make_published


@pytest.fixture(scope="session")
def published_folder(tmp_path_factory) -> Callable[..., pathlib.Path]:
    """Returns the folder of such a model, written once."""

    @functools.cache
    def folder(name: str) -> pathlib.Path:
        path = tmp_path_factory.mktemp(name)
        make_published(name).save_pretrained(path)
        return path

    return folder


@pytest.fixture(scope="session")
def loaded(published_folder) -> Callable[..., Any]:
    """Returns our model of such a folder, loaded once; tests leave it as it is."""
    return functools.cache(lambda name: hn.load_model(published_folder(name)))


@pytest.fixture
def token_ids() -> np.ndarray:
    """Two rows, longer than every window and convolution."""
    return np.random.default_rng(1).integers(3, 61, (2, 21))
