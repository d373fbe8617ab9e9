"""Counting parameters and memory without building."""

from __future__ import annotations

import math

import keras
import pytest

from highnoon.config import PRESETS, ModelConfig, get_preset_config
from highnoon.models import LanguageModel, LimitExceededError, count_parameters, memory, model_table
from highnoon.models.parts import mixer_names

PROMISES = {
    "highnoon-nano": 1e6,
    "highnoon-tiny": 6e6,
    "highnoon-small": 125e6,
    "highnoon-base": 350e6,
    "highnoon-large": 1e9,
    "highnoon-3b": 3e9,
    "highnoon-7b": 7e9,
    "highnoon-13b": 13e9,
    "highnoon-20b": 20e9,
    "hatching-nano": 3 * 32 * 128**2 + 2 * 263 * 128,
    "hatching-small": 3 * 128 * 128**2 + 2 * 263 * 128,
    "hatching-medium": 3 * 128 * 256**2 + 2 * 263 * 256,
    "hatching-large": 3 * 128 * 512**2 + 2 * 263 * 512,
}
SHAPES = {  # embedding_dim, num_reasoning_blocks, num_moe_experts
    "highnoon-small": (512, 4, 4),
    "highnoon-base": (768, 6, 8),
    "highnoon-3b": (2048, 12, 8),
    "highnoon-7b": (3072, 16, 12),
    "highnoon-13b": (4096, 20, 12),
    "highnoon-20b": (4096, 24, 12),
}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_keeps_the_promise_of_its_name(name):
    assert count_parameters(get_preset_config(name).model) == pytest.approx(PROMISES[name], rel=0.05)


@pytest.mark.parametrize("name", SHAPES)
def test_a_preset_has_its_documented_shape(name):
    config = get_preset_config(name).model
    assert (config.embedding_dim, config.num_reasoning_blocks, config.num_moe_experts) == SHAPES[name]
    assert config.embedding_dim // config.resolved_num_heads in (64, 128)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"tie_embeddings": False},
        {"block_pattern": "transformer", "num_kv_heads": 1},
        {"block_pattern": "attention+mlp, attention+moe, attention+moe", "num_shared_experts": 2},
        {"block_pattern": "attention, sliding_attention", "head_dim": 10, "qk_norm": True, "num_kv_heads": 1},
        {"block_pattern": "latent_attention", "q_lora_rank": 7},
        {"block_pattern": "attention+moe", "router_type": "sigmoid"},
        {"block_pattern": "attention+moe", "router_type": "causal_expert_choice"},
        {"block_pattern": "mamba, mamba2, gated_delta_rule+mlp", "state_dim": 5, "ssm_num_groups": 2},
        {"block_pattern": "bdh(multiplier=4), attention", "share_blocks": True, "final_norm": False},
    ],
)
def test_the_formula_counts_what_a_built_model_holds(fields):
    config = ModelConfig(
        vocab_size=50,
        embedding_dim=24,
        num_reasoning_blocks=2,
        num_moe_experts=3,
        num_heads=2,
        expert_dim=10,
        ffn_dim=14,
        **fields,
    )
    assert count_parameters(config) == LanguageModel(**config.to_dict()).count_params()


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_builds_at_a_shrunken_size(name):
    config = get_preset_config(name).model
    small = ModelConfig(
        **{
            **config.to_dict(),
            "vocab_size": 40,
            "embedding_dim": 2 * config.resolved_num_heads,
            "num_reasoning_blocks": 1,
            "expert_dim": 4,
        }
    )
    assert LanguageModel(**small.to_dict()).count_params() == count_parameters(small)


def test_active_parameters_leave_out_the_experts_that_a_token_does_not_pass():
    config = ModelConfig(num_moe_experts=8, num_experts_per_tok=2, expert_dim=100, num_reasoning_blocks=3)
    idle = 3 * 6 * 3 * 512 * 100
    assert count_parameters(config) - count_parameters(config, active=True) == idle
    dense = ModelConfig(block_pattern="transformer")
    assert count_parameters(dense) == count_parameters(dense, active=True)


def test_memory_is_weights_and_cache_to_run_and_four_copies_to_train():
    config = ModelConfig(
        vocab_size=50,
        embedding_dim=24,
        num_reasoning_blocks=2,
        num_heads=2,
        num_kv_heads=1,
        max_seq_length=100,
        block_pattern="attention+moe, attention+mlp",
    )
    weights = 4 * count_parameters(config)
    assert memory.bytes_to_run(config) == weights + 4 * (2 * 2) * 2 * 12 * 100
    assert memory.bytes_to_train(config) == 4 * weights


@pytest.mark.parametrize("mixer", mixer_names())
def test_the_cache_is_counted_as_it_is_made(mixer):
    config = ModelConfig(
        vocab_size=50,
        embedding_dim=24,
        num_reasoning_blocks=2,
        num_heads=2,
        num_kv_heads=1,
        max_seq_length=100,
        block_pattern=mixer,
    )
    cache = LanguageModel(**config.to_dict()).initial_cache(1, config.max_seq_length)
    numbers = sum(math.prod(leaf.shape) for leaf in keras.tree.flatten(cache))
    assert memory.bytes_to_run(config) == 4 * (count_parameters(config) + numbers)


def test_the_table_has_a_row_for_every_preset_in_order_of_size():
    table = model_table()
    assert {row.name for row in table} == set(PRESETS)
    assert [row.total for row in table] == sorted(row.total for row in table)
    for row in table:
        weights = row.bytes_to_run - memory.cache_bytes(get_preset_config(row.name).model)
        assert row.active <= row.total and weights < row.bytes_to_train


def test_a_control_group_limits_what_is_available(tmp_path, monkeypatch):
    (tmp_path / "max").write_text("5000\n")
    (tmp_path / "current").write_text("1000\n")
    monkeypatch.setattr(memory, "_CGROUPS", ((str(tmp_path / "max"), str(tmp_path / "current")),))
    assert memory.available_memory() == 4000
    (tmp_path / "max").write_text("max\n")
    assert memory.available_memory() > 4000


def test_what_does_not_fit_is_refused_with_the_figures(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 2 * 2**30)
    config = get_preset_config("highnoon-3b").model
    with pytest.raises(LimitExceededError, match="3,035,596,800 parameters needs 11.7 GiB to run .and 45"):
        memory.require_memory(config)
    memory.require_memory(config, allow_oversize=True)
    memory.require_memory(get_preset_config("highnoon-small").model)
    assert issubclass(LimitExceededError, ValueError)
