"""`model.quantize` says what it costs, and refuses what it cannot do."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest

import highnoon as hn
from highnoon.config import ConfigError

SHAPE = {"vocab_size": 40, "embedding_dim": 16, "num_reasoning_blocks": 1, "num_heads": 2}
IDS = np.array([[3, 7, 9, 4]])


def make(pattern="attention+mlp", **fields):
    keras.utils.set_random_seed(0)
    return hn.create_model("highnoon-nano", **SHAPE, block_pattern=pattern, **fields)


@pytest.mark.parametrize(
    "mode, words", [("int8", "more slowly"), ("int4", "more slowly"), ("float8", "neither memory")]
)
def test_a_mode_is_honored_without_a_warning_and_says_what_it_does_to_speed(mode, words, capsys):
    model = make()
    before = np.asarray(model(IDS))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model.quantize(mode)
    printed = capsys.readouterr().out
    assert printed.startswith(f"{mode}: ") and words in printed and len(printed.splitlines()) == 1
    modes = {layer.quantization_mode for layer in model._flatten_layers() if layer.name in ("query", "down")}
    assert modes == {mode}
    assert 0 < np.abs(np.asarray(model(IDS)) - before).max() < 2


@pytest.mark.parametrize(
    "mode, words",
    [
        ("gptq", "gptq needs calibration data"),
        ("awq", "awq needs calibration data"),
        ("int3", "did you mean 'int8'"),
        (None, "received None"),
        (8, "received 8"),
    ],
)
def test_another_mode_is_refused_in_one_line_and_changes_nothing(mode, words):
    model = make()
    with pytest.raises(ConfigError, match=words) as caught:
        model.quantize(mode)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="received 'gptq'"):
        model.quantize(config=keras.quantizers.GPTQConfig(dataset=["a"], tokenizer=None))
    assert not any(layer.quantization_mode for layer in model._flatten_layers())


def test_twice_is_refused():
    model = make()
    model.quantize("int8", filters="query")
    with pytest.raises(ConfigError, match="quantized to int8 already"):
        model.quantize("int8")


def test_experts_are_quantized_to_int8_or_left_out_by_name():
    model = make("attention+moe", num_moe_experts=2)
    with pytest.raises(ConfigError, match="experts cannot be quantized to int4"):
        model.quantize("int4")
    assert not any(layer.quantization_mode for layer in model._flatten_layers())
    model.quantize("int4", filters="query|key")
    assert {layer.name for layer in model._flatten_layers() if layer.quantization_mode} == {"query", "key"}
    model = make("attention+moe", num_moe_experts=2)
    model.quantize("int8")
    assert any(layer.name == "experts" and layer.quantization_mode for layer in model._flatten_layers())
