"""The settings of well-known models are read as published: the number of parameters is theirs."""

from __future__ import annotations

import math
from typing import Any

import pytest

from highnoon.models import count_parameters
from highnoon.models.hugging_face.families import FAMILIES, read_config

YARN = {"type": "yarn", "factor": 40, "beta_fast": 32, "beta_slow": 1,
        "original_max_position_embeddings": 4096}
DEEPSEEK = {
    "attention_bias": False, "attention_dropout": 0.0, "aux_loss_alpha": 0.001, "hidden_act": "silu",
    "kv_lora_rank": 512, "max_position_embeddings": 163840, "moe_layer_freq": 1, "pretraining_tp": 1,
    "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "rms_norm_eps": 1e-6, "rope_theta": 10000,
    "seq_aux": True, "tie_word_embeddings": False, "v_head_dim": 128,
}
STATE_SPACE = {
    "conv_kernel": 4, "expand": 2, "hidden_act": "silu", "initializer_range": 0.1, "layer_norm_epsilon": 1e-5,
    "rescale_prenorm_residual": False, "residual_in_fp32": True, "rms_norm": True, "time_step_floor": 1e-4,
    "time_step_init_scheme": "random", "time_step_max": 0.1, "time_step_min": 0.001, "time_step_scale": 1.0,
    "use_bias": False, "use_cache": True, "use_conv_bias": True,
}
PUBLISHED: dict[str, tuple[dict[str, Any], int]] = {
    "Llama-3.1-8B": ({
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "attention_bias": False,
        "attention_dropout": 0.0, "bos_token_id": 128000, "eos_token_id": [128001, 128008, 128009],
        "hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 14336, "mlp_bias": False,
        "max_position_embeddings": 131072, "num_attention_heads": 32, "num_hidden_layers": 32,
        "num_key_value_heads": 8, "pretraining_tp": 1, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
        "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                         "high_freq_factor": 4.0, "original_max_position_embeddings": 8192},
        "tie_word_embeddings": False, "torch_dtype": "bfloat16", "use_cache": True, "vocab_size": 128256,
    }, 8_030_261_248),
    "SmolLM2-135M": ({
        "model_type": "llama", "hidden_act": "silu", "hidden_size": 576, "intermediate_size": 1536,
        "is_llama_config": True, "max_position_embeddings": 8192, "num_attention_heads": 9,
        "num_hidden_layers": 30, "num_key_value_heads": 3, "pad_token_id": None, "rms_norm_eps": 1e-5,
        "rope_interleaved": False, "rope_scaling": None, "rope_theta": 100000, "tie_word_embeddings": True,
        "vocab_size": 49152,
    }, 134_515_008),
    "Mixtral-8x7B": ({
        "model_type": "mixtral", "attention_dropout": 0.0, "hidden_act": "silu", "hidden_size": 4096,
        "intermediate_size": 14336, "max_position_embeddings": 32768, "num_attention_heads": 32,
        "num_experts_per_tok": 2, "num_hidden_layers": 32, "num_key_value_heads": 8, "num_local_experts": 8,
        "output_router_logits": False, "rms_norm_eps": 1e-5, "rope_theta": 1e6,
        "router_aux_loss_coef": 0.02, "sliding_window": None, "tie_word_embeddings": False,
        "vocab_size": 32000,
    }, 46_702_792_704),
    "Qwen3-30B-A3B": ({
        "model_type": "qwen3_moe", "attention_bias": False, "decoder_sparse_step": 1, "head_dim": 128,
        "hidden_act": "silu", "hidden_size": 2048, "intermediate_size": 6144,
        "max_position_embeddings": 40960, "max_window_layers": 48, "mlp_only_layers": [],
        "moe_intermediate_size": 768, "norm_topk_prob": True, "num_attention_heads": 32, "num_experts": 128,
        "num_experts_per_tok": 8, "num_hidden_layers": 48, "num_key_value_heads": 4, "rms_norm_eps": 1e-6,
        "rope_scaling": None, "rope_theta": 1e6, "sliding_window": None, "tie_word_embeddings": False,
        "use_sliding_window": False, "vocab_size": 151936,
    }, 30_532_122_624),
    "DeepSeek-V2-Lite": ({
        **DEEPSEEK, "model_type": "deepseek_v2", "first_k_dense_replace": 1, "hidden_size": 2048,
        "intermediate_size": 10944, "moe_intermediate_size": 1408, "n_group": 1, "n_routed_experts": 64,
        "n_shared_experts": 2, "norm_topk_prob": False, "num_attention_heads": 16, "num_experts_per_tok": 6,
        "num_hidden_layers": 27, "num_key_value_heads": 16, "q_lora_rank": None,
        "rope_scaling": {**YARN, "mscale": 0.707, "mscale_all_dim": 0.707}, "routed_scaling_factor": 1.0,
        "scoring_func": "softmax", "topk_group": 1, "topk_method": "greedy", "vocab_size": 102400,
    }, 15_706_484_224),
    "DeepSeek-V3": ({
        **DEEPSEEK, "model_type": "deepseek_v3", "ep_size": 1, "first_k_dense_replace": 3,
        "hidden_size": 7168, "intermediate_size": 18432, "moe_intermediate_size": 2048, "n_group": 8,
        "n_routed_experts": 256, "n_shared_experts": 1, "norm_topk_prob": True, "num_attention_heads": 128,
        "num_experts_per_tok": 8, "num_hidden_layers": 61, "num_key_value_heads": 128,
        "num_nextn_predict_layers": 1, "q_lora_rank": 1536,
        "rope_scaling": {**YARN, "mscale": 1.0, "mscale_all_dim": 1.0}, "routed_scaling_factor": 2.5,
        "scoring_func": "sigmoid", "topk_group": 4, "topk_method": "noaux_tc", "vocab_size": 129280,
    }, 671_026_419_200),
    "mamba-130m-hf": ({
        **STATE_SPACE, "model_type": "mamba", "d_inner": 1536, "d_model": 768, "fused_add_norm": True,
        "hidden_size": 768, "intermediate_size": 1536, "n_layer": 24, "num_hidden_layers": 24,
        "pad_vocab_size_multiple": 8, "ssm_cfg": {}, "state_size": 16, "time_step_rank": 48,
        "vocab_size": 50280,
    }, 129_135_360),
    "Mamba-Codestral-7B": ({
        **STATE_SPACE, "model_type": "mamba2", "chunk_size": 256, "head_dim": 64, "hidden_size": 4096,
        "intermediate_size": 8192, "n_groups": 8, "norm_before_gate": True, "num_heads": 128,
        "num_hidden_layers": 64, "state_size": 128, "tie_word_embeddings": False,
        "time_step_limit": [0.0, math.inf], "time_step_rank": 256, "vocab_size": 32768,
    }, 7_285_403_648),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_model_has_its_published_number_of_parameters(name):
    settings, parameters = PUBLISHED[name]
    config = read_config(FAMILIES[settings["model_type"]], settings, "config.json")
    assert count_parameters(config) == parameters
