"""A config.json of anybody is a configuration or a one-line refusal, before anything is built."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

import highnoon as hn
from highnoon.config import ModelConfig
from highnoon.models import LimitExceededError, ModelFolderError
from highnoon.models.hugging_face import is_hugging_face_folder, load, load_hugging_face
from highnoon.models.hugging_face.families import FAMILIES, family_of, read_config
from highnoon.models.memory import require_memory
from tests.models.hugging_face.dense_fields import dense_fields

_SHAPE = {
    "vocab_size": 300,
    "embedding_dim": 32,
    "num_reasoning_blocks": 2,
    "max_seq_length": 64,
    "num_heads": 2,
}
_PATTERNS = {
    "llama": {"block_pattern": "attention+mlp"},
    "mistral": {"block_pattern": "sliding_attention+mlp", "sliding_window": 8},
    "mixtral": {"block_pattern": "attention+moe"},
    **dense_fields(head_dim=16),
    "qwen3_moe": {"block_pattern": "attention+moe, attention+mlp", "qk_norm": True},
    "deepseek_v2": {"block_pattern": "latent_attention+moe", "num_shared_experts": 1, "q_lora_rank": 8},
    "deepseek_v3": {
        "block_pattern": "latent_attention+moe",
        "num_shared_experts": 1,
        "router_type": "sigmoid",
    },
    "mamba": {"block_pattern": "mamba"},
    "mamba2": {"block_pattern": "mamba2"},
}
VALID: dict[str, dict[str, Any]] = {
    name: {"model_type": name, **family.write(ModelConfig(**_SHAPE, **_PATTERNS[name]))}
    for name, family in FAMILIES.items()
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "beta_fast": 32}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
HOSTILE = st.sampled_from(
    [
        10**9,
        10**12,
        10**18,
        10**400,
        10**5000,
        0,
        -1,
        -(10**400),
        1,
        2,
        3,
        7,
        1.5,
        4096.0,
        1e300,
        math.nan,
        math.inf,
        -math.inf,
        None,
        True,
        False,
        "",
        "8",
        "silu",
        "auto",
        "\ud800",
        "\x1b[31m\n",
        "x" * 10_000,
        [],
        [1],
        {},
        {"a": 1},
        [[[]]],
        [0] * 1000,
        {"rope_type": []},
        {"rope_type": "yarn"},
        {"rope_theta": 0},
        YARN,
        LLAMA3,
    ]
)


@st.composite
def changed(draw: st.DrawFn, name: str) -> dict[str, Any]:
    values = dict(VALID[name])
    others = [
        "layer_types",
        "rope_theta",
        "rope_scaling",
        "head_dim",
        "mlp_only_layers",
        "quantization_config",
        "a\nb",
    ]
    keys = [*values, *others]
    for key in draw(st.lists(st.sampled_from(keys), min_size=1, max_size=3)):
        match draw(st.integers(0, 5)):
            case 0:
                values.pop(key, None)
            case 1:
                kind = draw(st.sampled_from([YARN, LLAMA3]))
                changes = {draw(st.sampled_from([*kind, "rope_theta"])): draw(HOSTILE)}
                values["rope_parameters"] = {**kind, **changes}
            case _:
                values[key] = draw(HOSTILE)
    return values


def judge(values: dict[str, Any]) -> str:
    """Returns what becomes of a config.json; every refusal is one line that can be printed."""
    begun_at = time.monotonic()
    try:
        require_memory(read_config(family_of(values, "config.json"), values, "config.json"))
    except (ModelFolderError, LimitExceededError) as error:
        message = str(error)
        message.encode()
        assert "\n" not in message and "\x1b" not in message and len(message) < 1000
        return message
    finally:
        assert time.monotonic() - begun_at < 1
    return "read"


@pytest.mark.parametrize("name", FAMILIES)
def test_a_configuration_of_each_family_is_read_as_it_is(name):
    assert judge(VALID[name]) == "read"


@pytest.mark.parametrize("name", FAMILIES)
def test_a_changed_configuration_is_read_or_refused_in_one_line(name):
    @settings(
        max_examples=100,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(changed(name))
    def check(values):
        judge(values)

    check()


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("llama", {"num_hidden_layers": 10**9}, "`num_hidden_layers` must be an integer from 1 to 4,096"),
        ("llama", {"vocab_size": 2 * 10**9, "hidden_size": 2**16}, "GiB to run"),
        (
            "llama",
            {"hidden_size": 10**400},
            "`hidden_size` must be an integer from .* an integer of 1,329 bits",
        ),
        ("llama", {"hidden_size": None}, "`hidden_size` must be an integer from .* received None"),
        ("llama", {"num_attention_heads": 0}, "`num_attention_heads` must be an integer from .* received 0"),
        ("llama", {"num_key_value_heads": 0}, "`num_key_value_heads` must be an integer from .* received 0"),
        ("llama", {"rms_norm_eps": math.nan}, "`rms_norm_eps` must be a finite number above 0; received nan"),
        ("llama", {"rope_parameters": [1]}, "`rope_parameters` must be an object"),
        ("llama", {"rope_parameters": {**LLAMA3, "high_freq_factor": 1.0}}, "high_freq_factor above"),
        (
            "llama",
            {"tie_word_embeddings": "yes"},
            "`tie_word_embeddings` must be true or false; received 'yes'",
        ),
        ("llama", {"model_type": ["llama"]}, r"model_type \['llama'\]; HighNoon loads"),
        ("qwen3_moe", {"decoder_sparse_step": 0}, "`decoder_sparse_step` must be an integer from"),
        ("qwen3_moe", {"mlp_only_layers": [[1]]}, "`mlp_only_layers` must be a list of layers"),
        ("qwen2", {"layer_types": ["full_attention"]}, "`layer_types` must be a list of 4, each full_att"),
        ("qwen2", {"layer_types": ["full_attention", "other"] * 2}, "`layer_types` must be a list of 4"),
        ("qwen2", {"use_sliding_window": False}, "`sliding_window` must be in use, since `layer_types` has"),
        ("qwen3", {"attention_bias": "qkv"}, "`attention_bias` must be true or false; received 'qkv'"),
        ("phi3", {"partial_rotary_factor": 0.75}, "`partial_rotary_factor`=0.75"),
        ("phi3", {"rope_parameters": {"rope_type": "longrope"}}, "missing: long_factor, short_factor"),
        ("phi3", {"rope_parameters": {**LLAMA3}}, "null or of type longrope"),
        ("gemma", {"use_bidirectional_attention": True}, "`use_bidirectional_attention`=True"),
        ("gemma2", {"hidden_activation": "quick_gelu"}, "`hidden_activation`='quick_gelu'"),
        ("gemma2", {"hidden_act": "relu"}, "`hidden_act` must be what `hidden_activation` is"),
        ("gemma2", {"hidden_size": 33}, "`hidden_size` must be a multiple of num_attention_heads=2"),
        ("gemma2", {"final_logit_softcapping": 0}, "`final_logit_softcapping` must be a finite number above"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "`scale_attn_by_inverse_layer_idx`=True"),
        ("gpt2", {"scale_attn_weights": False}, "`scale_attn_weights`=False"),
        ("gpt2", {"add_cross_attention": True}, "`add_cross_attention`=True"),
        ("gpt2", {"n_embd": 33}, "`n_embd` must be a multiple of n_head=2; received 33"),
        ("gpt2", {"activation_function": "gelu_fast"}, "`activation_function`='gelu_fast'"),
        ("deepseek_v2", {"first_k_dense_replace": "1"}, "`first_k_dense_replace` must be an integer from"),
        ("deepseek_v3", {"kv_lora_rank": None}, "`kv_lora_rank` must be an integer from"),
        ("mamba", {"time_step_rank": 0}, "`time_step_rank` must be an integer from"),
        ("mamba2", {"head_dim": 0}, "`head_dim` must be an integer from"),
    ],
)
def test_a_refusal_names_the_file_the_setting_and_what_was_expected(name, change, words):
    message = judge({**VALID[name], **change})
    assert message != "read"
    with pytest.raises((ModelFolderError, LimitExceededError), match=words):
        raise ModelFolderError(message)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"model_type": "llama", "a": ' + "[" * 50_000, "\0", "[1]"])
def test_a_config_file_that_is_no_object_of_a_model_is_refused(text, tmp_path):
    (tmp_path / "config.json").write_text(text)
    assert not is_hugging_face_folder(tmp_path)
    with pytest.raises(ModelFolderError) as failure:
        load_hugging_face(tmp_path)
    assert "\n" not in str(failure.value)


def test_a_config_of_another_larger_model_is_refused_before_it_is_built(tmp_path, monkeypatch):
    monkeypatch.setattr(load, "LanguageModel", None)  # nothing may be built
    save_file({"model.norm.weight": np.ones(32, "float32")}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({**VALID["llama"], "num_hidden_layers": 4000}))
    with pytest.raises(ModelFolderError, match="describes 4,000 layers with .* hold 32 in 1 tensors"):
        hn.load_model(tmp_path)
