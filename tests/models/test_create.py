"""Models by preset or configuration."""

from __future__ import annotations

import time

import keras
import pytest

import highnoon as hn
from highnoon.config import PRESETS, Config, ConfigError, ModelConfig, TrainingConfig, is_given
from highnoon.models import create, dtypes, memory

SMALL = ModelConfig(vocab_size=40, embedding_dim=16, num_reasoning_blocks=1, num_moe_experts=2)


@pytest.mark.parametrize("name", ["highnoon-nano", "nano"])
def test_a_preset_is_found_by_its_whole_and_its_short_name(name):
    model = hn.create_model(name)
    assert model.count_params() == pytest.approx(1e6, rel=0.05)
    rate = model.training_config.learning_rate
    assert rate == PRESETS["highnoon-nano"]["learning_rate"] and not is_given(rate)


def test_a_configs_training_part_travels_with_the_model():
    training = TrainingConfig(batch_size=3, learning_rate=3e-4)
    model = hn.create_model(Config(model=SMALL, training=training))
    assert model.config == SMALL and model.training_config == training
    assert hn.create_model(SMALL).training_config is None


def test_overrides_reach_the_model_and_the_training_part():
    model = hn.create_model("nano", num_reasoning_blocks=1, max_seq_len=99, lr=5e-4)
    assert (model.num_blocks, model.max_seq_length) == (1, 99)
    assert model.training_config.learning_rate == 5e-4


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("highnoon-33b",), "no preset 'highnoon-33b'; did you mean `highnoon-3b`"),
        ((7,), "takes a preset's name, a Config or a ModelConfig; received 7"),
    ],
)
def test_what_names_no_model_is_refused(arguments, words):
    with pytest.raises(ConfigError, match=words):
        hn.create_model(*arguments)


def test_an_unknown_override_is_named():
    with pytest.raises(ConfigError, match="no argument `num_expert`; did you mean `num_experts`"):
        hn.create_model("nano", num_expert=3)


def test_an_oversize_model_is_refused_before_it_is_allocated(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 2**30)
    monkeypatch.setattr(create, "LanguageModel", lambda **_: "built")
    monkeypatch.setattr(create, "calibrate", lambda model: None)
    with pytest.raises(hn.LimitExceededError, match="pass allow_oversize=True"):
        hn.create_model("3b")
    assert hn.create_model("3b", allow_oversize=True) == "built"


@pytest.mark.parametrize(
    "fields",
    [
        {"num_reasoning_blocks": 10**9},
        {"embedding_dim": 10**12},
        {"embedding_dim": 2**31 - 2, "num_heads": 1},
        {"vocab_size": 10**400},
        {"vocab_size": 10**5000},
        {"num_moe_experts": 10**9},
        {"max_seq_length": 10**18},
        {"head_dim": 10**9},
        {"num_shared_experts": 2**40},
        {"block_pattern": "mamba," * 10**6},
        {"block_pattern": "mamba2", "ssm_expand": 10**9},
        {"rope_theta": 10**400},
        {"embedding_dim": 10**12 + 2},
        {"num_reasoning_blocks": 5_000, "embedding_dim": 2, "vocab_size": 8, "num_heads": 1, "expert_dim": 1},
    ],
)
def test_a_model_of_huge_numbers_is_refused_at_once(fields, monkeypatch):
    monkeypatch.setattr(create, "LanguageModel", None)  # nothing may be built
    begun_at = time.monotonic()
    with pytest.raises((ConfigError, hn.LimitExceededError)) as failure:
        hn.create_model("nano", **fields)
    assert time.monotonic() - begun_at < 1
    assert "\n" not in str(failure.value) and len(str(failure.value)) < 400


@pytest.mark.parametrize("width", [2, 30, 64, 192, 510, 512, 4096, 5120, 2 * 65537, 2**31 - 2])
def test_the_default_number_of_heads_is_the_largest_that_fits(width):
    fitting = [heads for heads in range(1, 4096) if width % (2 * heads) == 0 and heads <= max(1, width // 64)]
    config = ModelConfig(embedding_dim=width)
    assert config.resolved_num_heads == max(fitting) or config.resolved_num_heads >= 4096


def test_auto_dtype_is_mixed_bfloat16_where_the_hardware_is_fast_at_it(monkeypatch):
    for is_fast, policy in ((False, "float32"), (True, "mixed_bfloat16")):
        monkeypatch.setattr(dtypes, "_is_fast_at_bfloat16", lambda is_fast=is_fast: is_fast)
        assert hn.create_model(SMALL).dtype_policy.name == policy
    assert hn.create_model(SMALL, dtype="float32").dtype_policy.name == "float32"


def test_auto_dtype_keeps_a_policy_that_was_set_for_keras():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        assert hn.create_model(SMALL).dtype_policy.name == "mixed_float16"
    finally:
        keras.config.set_dtype_policy("float32")
