"""Models as folders."""

from __future__ import annotations

import dataclasses
import errno
import json

import keras
import numpy as np
import pytest

import highnoon as hn
from highnoon.config import ModelConfig, TrainingConfig
from highnoon.files.folder_manifest import MANIFEST
from highnoon.models import ModelFolderError, saving
from highnoon.models.arrays import load_arrays, save_arrays
from highnoon.testing.check_model import check_save_and_load, logits_of, new_model
from highnoon.tokenization import ByteTokenizer

CONFIG = ModelConfig(
    vocab_size=300,
    embedding_dim=16,
    num_reasoning_blocks=1,
    num_moe_experts=2,
    expert_dim=8,
    num_heads=2,
)
TOKEN_IDS = np.random.default_rng(0).integers(1, 300, (2, 5))


@pytest.fixture
def model():
    return new_model(CONFIG)


def test_a_model_comes_back_bit_for_bit(tmp_path):
    check_save_and_load(CONFIG, tmp_path)


def test_tokenizer_and_training_configuration_travel_with_it(model, tmp_path):
    model.tokenizer, model.training_config = ByteTokenizer(), TrainingConfig(batch_size=5)
    hn.save_model(model, tmp_path / "deep" / "model")
    assert {p.name for p in (tmp_path / "deep" / "model").iterdir()} == {
        "config.json",
        "manifest.json",
        "model.safetensors",
        "tokenizer.json",
    }
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["model"]
    again = hn.load_model(tmp_path / "deep" / "model")
    assert again.tokenizer.encode("hi") == ByteTokenizer().encode("hi")
    assert again.training_config == TrainingConfig(batch_size=5)


def test_a_checkpoint_folder_loads_as_a_model_and_keeps_its_other_files(model, tmp_path):
    path = hn.save_model(model, tmp_path / "step_00000010")
    (path / "state.json").write_text("{}")
    assert hn.load_model(path).config == CONFIG
    other = new_model(CONFIG, seed=1)
    hn.save_model(other, path)
    assert (path / "state.json").read_text() == "{}"
    np.testing.assert_array_equal(logits_of(hn.load_model(path), TOKEN_IDS), logits_of(other, TOKEN_IDS))


def test_a_tokenizer_that_the_new_model_lacks_does_not_stay(model, tmp_path):
    model.tokenizer = ByteTokenizer()
    hn.save_model(model, tmp_path / "m")
    model.tokenizer = None
    hn.save_model(model, tmp_path / "m")
    assert hn.load_model(tmp_path / "m").tokenizer is None


def test_a_folder_of_something_else_is_not_overwritten(model, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("meow")
    (tmp_path / "notes.txt").write_text("x")
    for path in ("photos", "notes.txt"):
        with pytest.raises(ModelFolderError, match="exists and is no model folder; give another path"):
            hn.save_model(model, tmp_path / path)
    assert (tmp_path / "photos" / "cat.jpg").read_text() == "meow"
    (tmp_path / "empty").mkdir()
    hn.save_model(model, tmp_path / "empty")


@pytest.mark.parametrize("writes", ["save_arrays", "_describe"])
def test_a_save_that_fails_leaves_the_old_model_and_nothing_else(model, tmp_path, monkeypatch, writes):
    path = hn.save_model(model, tmp_path / "m")

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(saving, writes, fail)
    with pytest.raises(OSError, match="No space left"):
        hn.save_model(new_model(CONFIG, seed=1), path)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
    np.testing.assert_array_equal(logits_of(hn.load_model(path), TOKEN_IDS), logits_of(model, TOKEN_IDS))


def change_config(path, **changes):
    values = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**values, **changes}))


@pytest.mark.parametrize(
    "damage, words",
    [
        (
            lambda p: (p / "config.json").unlink(),
            "it has no config.json; give a folder written by save_model",
        ),
        (lambda p: (p / "config.json").write_text("{"), "config.json is damaged"),
        (lambda p: (p / "config.json").write_text("{}"), "was not written by save_model"),
        (lambda p: change_config(p, format_version=99), "has format version 99"),
        (lambda p: change_config(p, model={"depth": 3}), "is of another HighNoon: .* no key `depth`"),
        (lambda p: (p / "model.safetensors").unlink(), "is no complete model: no arrays at"),
        (lambda p: (p / "model.safetensors").write_bytes(b"x" * 99), "is no complete model: .* is damaged"),
        (lambda p: save_arrays(p / "model.safetensors", {"x": np.zeros(1)}), "missing .*1 unexpected .x."),
    ],
)
def test_what_is_no_whole_model_is_named_in_a_folder_without_a_manifest_too(model, tmp_path, damage, words):
    path = hn.save_model(model, tmp_path / "m")
    damage(path)
    with pytest.raises(ModelFolderError, match="no complete model: .*(config.json|model.safetensors)"):
        hn.load_model(path)
    (path / "manifest.json").unlink()  # as older versions wrote it
    with pytest.raises(ModelFolderError, match=words):
        hn.load_model(path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "manifest.json"])
def test_one_flipped_bit_in_any_file_of_a_model_is_named(model, tmp_path, name):
    model.tokenizer = ByteTokenizer()
    file = hn.save_model(model, tmp_path / "m") / name
    content = bytearray(file.read_bytes())
    content[-20] ^= 1
    file.write_bytes(content)
    with pytest.raises(ModelFolderError, match=f"damaged: .*{name}"):
        hn.load_model(tmp_path / "m")


def test_a_model_without_a_manifest_loads_as_before(model, tmp_path):
    path = hn.save_model(model, tmp_path / "m")
    (path / "manifest.json").unlink()
    assert hn.load_model(path).config == CONFIG


@pytest.mark.parametrize(
    "values",
    [
        {"format_version": "1"},
        {"format_version": None},
        {"model": []},
        {"model": {"vocab_size": []}},
        {"training": 3},
        {"lora": [1]},
        {"lora": {"rank": "x", "y": 1}},
        {"quantized_dtype": {"class_name": 1}},
    ],
)
def test_fields_of_the_wrong_shape_are_an_error_of_the_folder(model, tmp_path, values):
    path = hn.save_model(model, tmp_path / "m")
    (path / "manifest.json").unlink()
    change_config(path, **values)
    with pytest.raises(ModelFolderError, match="config.json"):
        hn.load_model(path)


@pytest.mark.parametrize("name, words", [("absent", "it does not exist"), ("file", "it is a file")])
def test_a_path_without_a_folder_is_named(tmp_path, name, words):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ModelFolderError, match=words):
        hn.load_model(tmp_path / name)


def test_lora_factors_come_back(model, tmp_path):
    model.backbone.enable_lora(2)
    for weight in model.trainable_variables:
        weight.assign(np.random.default_rng(0).normal(size=weight.shape))
    again = hn.load_model(hn.save_model(model, tmp_path / "m"))
    np.testing.assert_array_equal(logits_of(again, TOKEN_IDS), logits_of(model, TOKEN_IDS))
    assert len(again.trainable_variables) == len(model.trainable_variables) == 4


def fill_factors(layer):
    for factor in (weight for weight in layer.weights if "lora" in weight.path):
        factor.assign(np.random.default_rng(0).normal(size=factor.shape))


def lora_on_one_layer(model):
    """Keras's own method, with an alpha that is not the rank."""
    query = next(layer for layer in model._flatten_layers() if layer.name == "query")
    query.enable_lora(2, lora_alpha=7.0)
    fill_factors(query)


def int4_after_lora(model):
    model.backbone.enable_lora(2)
    model.quantize("int4")
    fill_factors(model)


def float8(model):
    model.quantize("float8")
    model(TOKEN_IDS, training=True)  # so that the scales are no longer 1


CHANGES = {
    "int8": lambda model: model.quantize("int8"),
    "int4": lambda model: model.quantize("int4"),
    "int4 in groups of 8": lambda model: model.quantize(
        config=keras.quantizers.Int4QuantizationConfig(block_size=8)
    ),
    "int4 by channel": lambda model: model.quantize(
        config=keras.quantizers.Int4QuantizationConfig(block_size=-1)
    ),
    "int8 of weights alone": lambda model: model.quantize(
        config=keras.quantizers.Int8QuantizationConfig(activation_quantizer=None)
    ),
    "float8": float8,
    "int8 of one kind": lambda model: model.quantize("int8", filters="query"),
    "int4 after LoRA": int4_after_lora,
    "LoRA on one layer": lora_on_one_layer,
}


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_quantized_and_adapted_models_come_back_bit_for_bit(change, tmp_path):
    model = new_model(dataclasses.replace(CONFIG, block_pattern="attention+mlp"))
    change(model)
    again = hn.load_model(hn.save_model(model, tmp_path / "m"))
    np.testing.assert_array_equal(logits_of(again, TOKEN_IDS), logits_of(model, TOKEN_IDS))
    assert [(v.path, v.dtype, v.trainable) for v in again.variables] == [
        (v.path, v.dtype, v.trainable) for v in model.variables
    ]


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
def test_a_quantized_bfloat16_model_computes_in_bfloat16_again(tmp_path):
    config = dataclasses.replace(CONFIG, block_pattern="attention+moe")
    model = hn.create_model(config, dtype="mixed_bfloat16")
    model.quantize("int8")
    again = hn.load_model(hn.save_model(model, tmp_path / "m"))
    assert again.backbone.final_norm.compute_dtype == "bfloat16"
    np.testing.assert_array_equal(logits_of(again, TOKEN_IDS), logits_of(model, TOKEN_IDS))


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_a_quantized_model_of_an_earlier_version_loads(mode, tmp_path):
    model = new_model(dataclasses.replace(CONFIG, block_pattern="attention+mlp"))
    model.quantize(mode)
    before = logits_of(model, TOKEN_IDS)
    path = hn.save_model(model, tmp_path / "m")
    values = json.loads((path / "config.json").read_text())
    del values["quantized_layers"], values["dtype"]
    values["quantized_dtype"] = model.backbone.get_config()["dtype"]
    (path / "config.json").write_text(json.dumps(values))
    (path / MANIFEST).unlink()
    np.testing.assert_array_equal(logits_of(hn.load_model(path), TOKEN_IDS), before)


@pytest.mark.parametrize(
    "change",
    [
        {"quantized_layers": []},
        {"quantized_layers": {"absent": {"mode": "int8"}}},
        {"quantized_layers": {"token_embedding": 3}},
        {"quantized_layers": {"token_embedding": {"mode": "int3"}}},
        {
            "quantized_layers": {
                "token_embedding": {
                    "mode": "int8",
                    "config": {"module": "os", "class_name": "system", "config": {"command": "true"}},
                }
            }
        },
        {"lora_layers": {"final_norm": {"rank": 2, "alpha": 2}}},
        {"lora": [2]},
        {"lora": {"depth": 2}},
        {"dtype": 3},
        {"dtype": "float9"},
        {"quantized_layers": {"final_norm": {"mode": "int8"}}},
        {"quantized_dtype": "int8"},
    ],
)
def test_a_description_that_does_not_fit_is_named(model, tmp_path, change):
    path = hn.save_model(model, tmp_path / "m")
    change_config(path, **change)
    with pytest.raises(ModelFolderError, match="is no complete model") as caught:
        hn.load_model(path)
    assert "\n" not in str(caught.value)


def test_a_model_of_another_class_keeps_its_weights_and_load_says_whose_they_are(tmp_path):
    other = keras.Sequential([keras.layers.Dense(2)])
    other.build((None, 3))
    saving.write_model_files(other, tmp_path)
    assert set(load_arrays(tmp_path / "model.safetensors")) == {"kernel", "bias"}
    with pytest.raises(ModelFolderError, match="holds the weights of a keras.*Sequential"):
        hn.load_model(tmp_path)


def test_loading_checks_memory_first(model, tmp_path, monkeypatch):
    path = hn.save_model(model, tmp_path / "m")
    monkeypatch.setattr("highnoon.models.memory.available_memory", lambda: 10)
    with pytest.raises(hn.LimitExceededError):
        hn.load_model(path)
    hn.load_model(path, allow_oversize=True)
