"""Adapters saved, loaded and merged."""

from __future__ import annotations

import json

import numpy as np
import pytest

import highnoon as hn
from highnoon.models.adapters import AdapterError, load_adapter, merge_lora, save_adapter
from highnoon.tokenization import ByteTokenizer, ChatTemplate

SHAPE = {
    "vocab_size": 263,
    "embedding_dim": 16,
    "num_reasoning_blocks": 1,
    "num_heads": 2,
    "max_seq_length": 64,
    "block_pattern": "attention+mlp",
}
IDS = np.array([[5, 7, 9, 11, 40]])


def make(seed=0, **fields):
    import keras

    keras.utils.set_random_seed(seed)
    return hn.create_model("highnoon-nano", **{**SHAPE, **fields})


def train_factors(model, seed=1):
    """Gives the factors values as training would: without it their product is zero."""
    rng = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(size=weight.shape, scale=0.3))
    return model


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    """A base, the folder of an adapter of it, and the logits of both."""
    folder = tmp_path_factory.mktemp("adapted")
    model = make()
    hn.save_model(model, folder / "base")
    plain = np.asarray(model(IDS))
    model.backbone.enable_lora(3, ["query", "down"], alpha=12)
    train_factors(model)
    save_adapter(model, folder / "adapter", base_path=folder / "base")
    return folder, plain, np.asarray(model(IDS))


def test_an_adapter_comes_back_onto_its_base_bit_for_bit(adapted):
    folder, plain, changed = adapted
    model = hn.load_model(folder / "base")
    load_adapter(model, folder / "adapter")
    assert np.abs(changed - plain).max() > 0.01
    np.testing.assert_array_equal(model(IDS), changed)
    assert {weight.path.split("/")[-1] for weight in model.trainable_weights} == {
        "lora_kernel_a",
        "lora_kernel_b",
    }
    size = sum(file.stat().st_size for file in (folder / "adapter").iterdir())
    assert size < (folder / "base" / "model.safetensors").stat().st_size / 3


def test_an_adapter_alone_loads_the_base_that_it_names(adapted, tmp_path):
    folder, _, changed = adapted
    np.testing.assert_array_equal(hn.load_model(folder / "adapter")(IDS), changed)
    values = json.loads((folder / "adapter/adapter.json").read_text())
    for path, words in ((None, "does not say where"), ("/nowhere", "/nowhere, which is not here")):
        values["base"]["path"] = path
        (tmp_path / "adapter.json").write_text(json.dumps(values))
        with pytest.raises(AdapterError, match=words) as caught:
            hn.load_model(tmp_path)
        assert "--model BASE --adapter" in str(caught.value) and "\n" not in str(caught.value)


def test_another_base_is_refused_in_one_line_that_names_the_right_one(adapted):
    folder, _, _ = adapted
    for other, words in ((make(seed=7), "other weights"), (make(rope_theta=77.0), "another configuration")):
        before = np.asarray(other(IDS))
        with pytest.raises(AdapterError, match=words) as caught:
            load_adapter(other, folder / "adapter")
        assert str(folder / "base") in str(caught.value) and "\n" not in str(caught.value)
        np.testing.assert_array_equal(other(IDS), before)
        assert other.backbone.lora is None
    other = make(seed=7)
    load_adapter(other, folder / "adapter", allow_other_base=True)
    assert other.backbone.lora["rank"] == 3


def test_a_model_with_a_loaded_adapter_is_saved_and_loaded_with_it(adapted, tmp_path):
    folder, _, changed = adapted
    model = hn.load_model(folder / "adapter")
    hn.save_model(model, tmp_path / "model")
    again = hn.load_model(tmp_path / "model")
    np.testing.assert_array_equal(again(IDS), changed)
    assert [w.path for w in again.trainable_weights] == [w.path for w in model.trainable_weights]
    assert again.backbone.lora == model.backbone.lora


def test_merging_is_in_place_equal_and_leaves_a_model_like_any_other(adapted, tmp_path):
    folder, _, changed = adapted
    model = hn.load_model(folder / "adapter")
    kernels = [layer._kernel for layer in model._flatten_layers() if layer.name == "query"]
    assert merge_lora(model) == 2
    np.testing.assert_allclose(model(IDS), changed, atol=1e-5)
    assert kernels == [layer._kernel for layer in model._flatten_layers() if layer.name == "query"]
    plain = make()
    assert [(w.path, w.trainable) for w in model.weights] == [(w.path, w.trainable) for w in plain.weights]
    hn.save_model(model, tmp_path / "merged")
    assert hn.load_model(tmp_path / "merged").backbone.lora is None
    with pytest.raises(AdapterError, match="no LoRA factors to merge"):
        model.merge_lora()
    model.backbone.enable_lora(2)
    assert len(model.trainable_weights) == 4


def test_a_merged_model_generates_and_fits_with_its_new_weights(adapted):
    folder, _, _ = adapted
    model = hn.load_model(folder / "adapter")
    model.tokenizer = ByteTokenizer()
    before = model.generate("Hi", max_length=4, temperature=0)
    model.merge_lora()
    assert model.generate("Hi", max_length=4, temperature=0) == before


@pytest.mark.parametrize("tie", [True, False])
def test_factors_of_the_embedding_are_saved_and_merged(tie, tmp_path):
    model = make(tie_embeddings=tie)
    hn.save_model(model, tmp_path / "base")
    model.backbone.enable_lora(2, ["token_embedding"])
    train_factors(model)
    logits = np.asarray(model(IDS))
    save_adapter(model, tmp_path / "adapter")
    again = hn.load_model(tmp_path / "base")
    load_adapter(again, tmp_path / "adapter")
    np.testing.assert_array_equal(again(IDS), logits)
    again.merge_lora()
    np.testing.assert_allclose(again(IDS), logits, atol=1e-5)


def test_the_chat_template_of_the_training_comes_with_the_adapter(tmp_path):
    model = make()
    model.tokenizer = ByteTokenizer()
    hn.save_model(model, tmp_path / "base")
    model.tokenizer = model.tokenizer.with_chat_template(ChatTemplate())
    model.backbone.enable_lora(2)
    save_adapter(model, tmp_path / "adapter")
    again = hn.load_model(tmp_path / "base")
    assert again.tokenizer.chat_template is None
    load_adapter(again, tmp_path / "adapter")
    assert again.tokenizer.chat_template == ChatTemplate()


def test_what_cannot_be_saved_or_loaded_is_said_in_one_line(adapted, tmp_path):
    folder, _, _ = adapted
    model = make()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "note.txt").write_text("mine")
    tuned = make()
    tuned.backbone.enable_lora(2)
    cases = [
        (lambda: save_adapter(model, tmp_path / "x"), "no LoRA factors to save"),
        (lambda: save_adapter(tuned, tmp_path / "other"), "exists and is no adapter"),
        (lambda: load_adapter(model, tmp_path / "nothing"), "it is no folder"),
        (lambda: load_adapter(model, tmp_path / "other"), "it has no adapter.json"),
        (lambda: load_adapter(model, folder / "base"), "it holds a model"),
        (lambda: load_adapter(tuned, folder / "adapter"), "has LoRA factors already"),
    ]
    for call, words in cases:
        with pytest.raises(AdapterError, match=words) as caught:
            call()
        assert "\n" not in str(caught.value)
    assert (tmp_path / "other" / "note.txt").read_text() == "mine"


def test_damage_is_found(adapted, tmp_path):
    model = make()
    model.backbone.enable_lora(2)
    save_adapter(model, tmp_path / "adapter")
    file = tmp_path / "adapter/adapter.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(AdapterError, match="bytes of adapter.safetensors have changed"):
        load_adapter(make(), tmp_path / "adapter")
    (tmp_path / "adapter/manifest.json").unlink()
    values = json.loads((tmp_path / "adapter/adapter.json").read_text())
    for change, words in (
        ({"format_version": 9}, "install highnoon"),
        ({"format": "x"}, "not written by save_adapter"),
        ({"layers": {"a": {"rank": "2", "alpha": 1}}}, "`rank` of at least 1"),
        ({"layers": {}}, "does not hold the factors"),
    ):
        (tmp_path / "adapter/adapter.json").write_text(json.dumps({**values, **change}))
        with pytest.raises(AdapterError, match=words):
            load_adapter(make(), tmp_path / "adapter")
