"""Published weights of BDH have their published logits here."""

from __future__ import annotations

import builtins
import json
import pathlib
import runpy

import numpy as np
import pytest
from keras import ops

import highnoon as hn
from highnoon.config import ConfigError
from highnoon.models import LanguageModel
from highnoon.models.arrays import save_arrays
from highnoon.models.hatching import load_bdh
from highnoon.testing import check_model as battery

RECORD = runpy.run_path(str(pathlib.Path(__file__).with_name("record_logits.py")))
BYTES, COLUMNS, LEVELS = RECORD["BYTES"], RECORD["COLUMNS"], RECORD["LEVELS"]
RECORDED = np.array(json.loads(RECORD["RECORDED"].read_text()))


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    return RECORD["weights"]()


@pytest.fixture(scope="module")
def model(weights) -> LanguageModel:
    return load_bdh(weights, LEVELS, byte_tokenizer=False)


def with_form(model: LanguageModel, form: str) -> LanguageModel:
    fields = {**model.config.to_dict(), "block_pattern": f"bdh(multiplier=4, form={form}, chunk_length=4)"}
    other = LanguageModel(**fields)
    other.set_weights(model.get_weights())
    return other


def test_shapes_give_the_configuration(model):
    config = model.config
    assert (config.embedding_dim, config.num_heads, config.vocab_size) == (32, 2, 256)
    assert config.block_pattern == "bdh(multiplier=4)" and config.share_blocks
    assert model.count_params() == sum(array.size for array in RECORD["weights"]().values())


@pytest.mark.parametrize("form", ["quadratic", "chunked"])
def test_logits_are_those_that_were_recorded(model, form):
    logits = battery.logits_of(with_form(model, form), BYTES)[..., COLUMNS]
    assert np.abs(RECORDED).max() > 1
    np.testing.assert_allclose(logits, RECORDED, atol=1e-5)


@pytest.mark.parametrize("capacity", [24, 64])  # a list of tokens, and a state
def test_decoded_logits_are_those_that_were_recorded(model, capacity):
    cache, parts = model.initial_cache(2, capacity), []
    for start, end in [(0, 12), *((i, i + 1) for i in range(12, BYTES.shape[1]))]:
        logits, cache = model.decode(ops.convert_to_tensor(BYTES[:, start:end]), cache, start)
        parts.append(ops.convert_to_numpy(logits))
    np.testing.assert_allclose(np.concatenate(parts, axis=1)[..., COLUMNS], RECORDED, atol=1e-5)


def test_under_the_byte_tokenizer_bytes_keep_their_logits_and_text_is_generated(weights):
    model = load_bdh(weights, LEVELS)
    assert model.vocab_size == 263 and model.tokenizer.vocab_size == 263
    ids = np.concatenate([np.full((2, 1), model.tokenizer.bos_token_id), BYTES + 7], axis=1)
    logits = battery.logits_of(model, ids)
    np.testing.assert_allclose(logits[:, 1:, 7:][..., COLUMNS], RECORDED, atol=1e-5)
    probabilities = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities /= probabilities.sum(-1, keepdims=True)
    assert probabilities[..., :7].max() <= 1 / 256
    text = model.generate("To be", max_length=3, temperature=0.0)
    ids = [model.tokenizer.bos_token_id, *(byte + 7 for byte in b"To be")]
    for _ in range(3):
        ids.append(int(battery.logits_of(model, np.array([ids]))[0, -1].argmax()))
    assert text == model.tokenizer.decode(ids[1:])


def test_files_of_numpy_and_safetensors_are_read(weights, tmp_path):
    np.savez(tmp_path / "bdh.npz", **weights)
    save_arrays(tmp_path / "bdh.safetensors", {f"_orig_mod.{name}": a for name, a in weights.items()})
    expected = battery.logits_of(load_bdh(weights, 2), BYTES)
    for name in ("bdh.npz", "bdh.safetensors"):
        np.testing.assert_array_equal(battery.logits_of(load_bdh(tmp_path / name, 2), BYTES), expected)


def test_a_loaded_model_is_saved_and_loaded(model, tmp_path):
    hn.save_model(model, tmp_path / "saved")
    again = hn.load_model(tmp_path / "saved")
    np.testing.assert_array_equal(battery.logits_of(again, BYTES), battery.logits_of(model, BYTES))


def changed(weights, **changes):
    named = {name.replace("__", "."): array for name, array in changes.items()}
    return {name: array for name, array in {**weights, **named}.items() if array is not None}


def test_what_is_no_published_model_is_refused_in_one_line(weights, tmp_path):
    bad = np.zeros((2, 32, 65), "float32")
    infinite = np.full((32, 256), np.inf, "float32")
    freqs = np.ones((1, 1, 1, 64), "float32")
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 no archive")
    np.savez(tmp_path / "objects.npz", encoder=np.array([{}], dtype=object))
    for source, words in [
        (changed(weights, lm_head=None), "missing: lm_head"),
        (changed(weights, bias=bad), "unknown: 'bias'"),
        (changed(weights, encoder_v=bad), "`encoder_v` must have the shape .2, 32, 64.; received .2, 32, 65"),
        (changed(weights, encoder=bad[0]), "`encoder` must have 3 axes"),
        (changed(weights, lm_head=infinite), "`lm_head` must hold finite floats"),
        (changed(weights, attn__freqs=freqs), "`attn.freqs` holds other frequencies"),
        (changed(weights, encoder="text"), "'encoder' must be a tensor; received a str"),
        ({**weights, "module.encoder": weights["encoder"]}, "'encoder' is there twice"),
        ({1: bad}, "must be text; received 1"),
        (tmp_path / "none.npz", "there is no file"),
        (tmp_path / "weights.bin", "a file that ends in .safetensors, .npz, .pt, .pth"),
        (tmp_path / "broken.npz", "cannot be read as a file of tensors"),
        (tmp_path / "objects.npz", "cannot be read as a file of tensors"),
    ]:
        with pytest.raises(ValueError, match=words) as error:
            load_bdh(source)
        assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="`num_reasoning_blocks`"):
        load_bdh(weights, 0)
    other = changed(weights, embed__weight=np.ones((50, 32)), lm_head=np.ones((32, 50)))
    assert load_bdh(other, 1).vocab_size == 50
    with pytest.raises(ConfigError, match="vocabulary of 50 ids"):
        load_bdh(other, 1, byte_tokenizer=True)


def test_a_file_of_pytorch_names_it_where_it_is_absent(tmp_path, monkeypatch):
    (tmp_path / "bdh.pt").write_bytes(b"")
    import_plainly = builtins.__import__

    def without_torch(name, *arguments, **options):
        if name == "torch":
            raise ImportError(name)
        return import_plainly(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without_torch)
    with pytest.raises(ImportError, match="install torch to read it"):
        load_bdh(tmp_path / "bdh.pt")
