"""Every family's settings: found for a configuration of one's own, and refused where they ask too much."""

from __future__ import annotations

import pytest

from highnoon.config import ModelConfig
from highnoon.models import ModelFolderError
from highnoon.models.hugging_face.families import FAMILIES, family_for, read_config
from tests.models.hugging_face.dense_fields import dense_fields

EXPORTABLE = {
    "llama": {"block_pattern": "transformer"},
    "mistral": {"block_pattern": "sliding_attention+mlp", "sliding_window": 8},
    "mixtral": {"block_pattern": "moe_only"},
    **dense_fields(head_dim=32),
    "qwen3_moe": {"block_pattern": "attention+moe, attention+mlp", "qk_norm": True},
    "deepseek_v2": {
        "block_pattern": "latent_attention+moe",
        "num_shared_experts": 1,
        "normalize_gates": False,
    },
    "deepseek_v3": {
        "block_pattern": "latent_attention+moe",
        "num_shared_experts": 1,
        "router_type": "sigmoid",
    },
    "mamba": {"block_pattern": "mamba"},
    "mamba2": {"block_pattern": "mamba_only"},
}
TINY = {"vocab_size": 61, "embedding_dim": 32, "num_reasoning_blocks": 2, "max_seq_length": 64}


@pytest.mark.parametrize("name", FAMILIES)
def test_the_family_of_a_configuration_of_ones_own_is_found(name):
    family, settings = family_for(ModelConfig(**TINY, **EXPORTABLE[name]))
    assert family.model_type == name
    assert settings["vocab_size"] == 61


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"block_pattern": "gated_delta_rule+mlp"},
            "no model of transformers. These patterns can be exported",
        ),
        ({"block_pattern": "mamba2+moe, attention+moe"}, "attention\\+mlp \\(llama\\)"),
        (
            {"block_pattern": "sliding_attention+moe", "qk_norm": True},
            "mixtral does not support qk_norm=True",
        ),
        (
            {"block_pattern": "attention+mlp", "attention_bias": "qkv", "qk_norm": True},
            "qwen2 does not support qk_norm=True.*qwen3 does not support attention_bias='qkv'",
        ),
        (
            {"block_pattern": "attention+mlp", "position_embedding": "learned"},
            "llama does not support position_embedding='learned'",
        ),
        (
            {"block_pattern": "attention+mlp", "logit_softcap": 30.0},
            "llama does not support logit_softcap=30.0",
        ),
        (
            {"block_pattern": "moe_only", "num_shared_experts": 1},
            "mixtral does not support num_shared_experts=1",
        ),
        (
            {"block_pattern": "moe_only", "router_type": "sigmoid"},
            "mixtral does not support router_type='sigmoid'",
        ),
        ({"block_pattern": "latent_attention+moe", "router_type": "sigmoid"}, "`num_shared_experts` is 0"),
        ({"block_pattern": "latent_attention+mlp", "norm_epsilon": 1e-5}, "rms_norm_eps"),
    ],
)
def test_a_model_of_no_family_is_told_what_is_in_the_way(fields, words):
    with pytest.raises(ModelFolderError, match=words):
        family_for(ModelConfig(**TINY, **fields))


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        ("mamba", "use_bias", True),
        ("mamba", "use_conv_bias", False),
        ("mamba", "hidden_act", "relu"),
        ("mamba", "intermediate_size", 100),
        ("mamba2", "time_step_limit", [0.1, 0.5]),
        ("mamba2", "num_heads", 3),
        ("qwen3_moe", "use_sliding_window", True),
        ("deepseek_v2", "norm_topk_prob", True),
        ("deepseek_v2", "topk_method", "other"),
        ("deepseek_v2", "num_key_value_heads", 3),
        ("deepseek_v3", "rope_interleave", False),
        ("deepseek_v3", "rms_norm_eps", 1e-5),
        ("deepseek_v3", "scoring_func", "softmax"),
    ],
)
def test_a_setting_that_a_family_may_have_and_we_have_not_is_named(name, setting, value):
    config = ModelConfig(**TINY, **EXPORTABLE[name])
    settings = FAMILIES[name].write(config)
    assert read_config(FAMILIES[name], settings, "config.json").vocab_size == config.vocab_size
    with pytest.raises(ModelFolderError, match=f"`{setting}`="):
        read_config(FAMILIES[name], {**settings, setting: value}, "config.json")


@pytest.mark.parametrize("name", FAMILIES)
def test_a_config_without_its_sizes_is_refused(name):
    with pytest.raises(ModelFolderError, match="config.json has no `"):
        read_config(FAMILIES[name], {}, "config.json")


def test_an_infinite_limit_is_none_in_every_spelling():
    settings = FAMILIES["mamba2"].write(ModelConfig(**TINY, block_pattern="mamba2"))
    for limit in ([0.0, float("inf")], [0.0, {"__float__": "Infinity"}], (0.0, float("inf"))):
        assert read_config(FAMILIES["mamba2"], {**settings, "time_step_limit": limit}, "config.json")


def test_dense_layers_first_make_one_block_and_a_repeated_stack_many():
    config = ModelConfig(**TINY, **EXPORTABLE["deepseek_v2"])
    settings = FAMILIES["deepseek_v2"].write(config)
    mixed = read_config(FAMILIES["deepseek_v2"], {**settings, "first_k_dense_replace": 1}, "config.json")
    assert mixed.block_pattern == "latent_attention+mlp, latent_attention+moe"
    assert mixed.num_reasoning_blocks == 1
    assert read_config(FAMILIES["deepseek_v2"], settings, "config.json").num_reasoning_blocks == 2


def test_greedy_routing_has_no_groups_whatever_their_numbers_say():
    settings = FAMILIES["deepseek_v2"].write(ModelConfig(**TINY, **EXPORTABLE["deepseek_v2"]))
    for method, groups in (("greedy", 1), ("group_limited_greedy", 4)):
        changed = {**settings, "topk_method": method, "n_group": 4, "topk_group": 2}
        assert read_config(FAMILIES["deepseek_v2"], changed, "config.json").num_expert_groups == groups


def test_a_window_as_long_as_the_context_is_none():
    settings = FAMILIES["mistral"].write(ModelConfig(**TINY, **EXPORTABLE["mistral"]))
    for window in (None, 64, 4096):
        config = read_config(FAMILIES["mistral"], {**settings, "sliding_window": window}, "config.json")
        assert config.block_pattern == "attention+mlp"
