"""Dense families of published models: what their folders may hold, and what a round trip keeps."""

from __future__ import annotations

import json
import pathlib
import runpy

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import highnoon as hn
from highnoon.models import ModelFolderError

_HERE = pathlib.Path(__file__)
RECORDER = runpy.run_path(str(_HERE.with_name("record_logits.py")))
RECORDS = json.loads(RECORDER["RECORDED"].read_text())
NEW = ("qwen2", "qwen3", "phi3", "gemma", "gemma2", "gpt2")
IDS = np.random.default_rng(0).integers(3, 61, (2, 13))
# Ids of a tokenizer, another name of the same activation, and defaults that are written out.
_SPELLED_OTHERWISE = {
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "dtype",
    "activation_function",
    "rope_parameters",
    "max_window_layers",
}
pytestmark = pytest.mark.filterwarnings("ignore:.*longrope.*:UserWarning")


def write(folder, name, **changes):
    record = RECORDS[name]
    tensors = {key: RECORDER["tensor"](key, tuple(shape)) for key, shape in record["shapes"].items()}
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({**record["settings"], **changes}))
    return tensors


def logits(model, ids=IDS):
    return keras.ops.convert_to_numpy(model(ids, training=False))


@pytest.mark.parametrize("name", NEW)
def test_a_round_trip_keeps_every_tensor_and_the_family(name, tmp_path):
    (tmp_path / "published").mkdir()
    tensors = write(tmp_path / "published", name)
    model = hn.load_model(tmp_path / "published")
    hn.save_model(model, tmp_path / "ours")
    again = hn.load_model(tmp_path / "ours")
    np.testing.assert_array_equal(logits(again), logits(model))
    hn.export_model(again, tmp_path / "exported")
    written = load_file(tmp_path / "exported" / "model.safetensors")
    assert set(written) == set(tensors)
    for key, array in tensors.items():
        np.testing.assert_array_equal(written[key], array, err_msg=key)
    settings = json.loads((tmp_path / "exported" / "config.json").read_text())
    assert settings["model_type"] == name
    recorded = RECORDS[name]["settings"]
    same = [key for key in settings if key in recorded and key not in _SPELLED_OTHERWISE]
    assert len(same) >= 8
    assert {key: settings[key] for key in same} == {key: recorded[key] for key in same}


def test_a_model_that_no_longer_fits_its_family_is_written_as_another(tmp_path):
    write(tmp_path, "phi3", sliding_window=None)
    model = hn.load_model(tmp_path)
    assert model.published_as == "phi3"
    config = model.config.to_dict() | {"rope_scaling": None}
    other = hn.LanguageModel(**config)
    other.published_as = "phi3"
    hn.export_model(other, tmp_path / "plain")
    assert json.loads((tmp_path / "plain" / "config.json").read_text())["model_type"] == "phi3"
    other = hn.LanguageModel(**{**config, "qk_norm": True})
    other.published_as = "phi3"
    hn.export_model(other, tmp_path / "normed")
    assert json.loads((tmp_path / "normed" / "config.json").read_text())["model_type"] == "qwen3"


def test_the_files_of_gpt2_without_a_prefix_and_with_masks_are_read(tmp_path):
    tensors = write(tmp_path, "gpt2")
    expected = logits(hn.load_model(tmp_path))
    bare = {key.removeprefix("transformer."): array for key, array in tensors.items()}
    bare |= {f"h.{n}.attn.bias": np.ones((1, 1, 64, 64), "float32") for n in range(3)}
    save_file(bare, tmp_path / "model.safetensors")
    np.testing.assert_array_equal(logits(hn.load_model(tmp_path)), expected)
    save_file({**bare, "h.0.attn.other": np.ones(2, "float32")}, tmp_path / "model.safetensors")
    with pytest.raises(ModelFolderError, match=r"1 unexpected \(transformer.h.0.attn.other\)"):
        hn.load_model(tmp_path)


def test_shards_with_fused_tensors_load_as_one_file_does(tmp_path):
    tensors = write(tmp_path, "phi3")
    expected = logits(hn.load_model(tmp_path))
    (tmp_path / "model.safetensors").unlink()
    files = {key: f"model-{1 + n % 2:05}-of-00002.safetensors" for n, key in enumerate(sorted(tensors))}
    for file in set(files.values()):
        save_file({key: array for key, array in tensors.items() if files[key] == file}, tmp_path / file)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    np.testing.assert_array_equal(logits(hn.load_model(tmp_path)), expected)


def test_a_fused_tensor_of_another_size_is_named(tmp_path):
    tensors = write(tmp_path, "phi3")
    name = "model.layers.1.self_attn.qkv_proj.weight"
    save_file({**tensors, name: tensors[name][:-8]}, tmp_path / "model.safetensors")
    with pytest.raises(ModelFolderError, match=f"{name} is .56, 32. and should be .64, 32."):
        hn.load_model(tmp_path)


def test_longrope_is_limited_to_its_original_context(tmp_path):
    write(tmp_path, "phi3")
    with pytest.warns(UserWarning, match="max_position_embeddings=96 .* loaded with max_seq_length=24"):
        model = hn.load_model(tmp_path)
    with pytest.raises(ValueError, match="at most original_max_position_embeddings=24 tokens.*received 25"):
        model(np.ones((1, 25), "int32"))
    hn.export_model(model, tmp_path / "exported")
    settings = json.loads((tmp_path / "exported" / "config.json").read_text())
    assert settings["max_position_embeddings"] == 96
    assert settings["original_max_position_embeddings"] == 24
    assert settings["rope_parameters"]["long_factor"] == [2.0, 3.0, 4.0, 5.0]
    write(tmp_path, "phi3", max_position_embeddings=20)
    assert hn.load_model(tmp_path).max_seq_length == 20


def test_rows_longer_than_the_learned_positions_are_refused(tmp_path):
    write(tmp_path, "gpt2")
    with pytest.raises(ValueError, match="at most max_seq_length=64 tokens.*received 65; cut the row"):
        hn.load_model(tmp_path)(np.ones((1, 65), "int32"))


@pytest.mark.parametrize("name", ["gemma2", "gpt2", "qwen2"])
def test_a_packed_document_has_the_logits_that_it_has_alone(name, tmp_path):
    write(tmp_path, name)
    model = hn.load_model(tmp_path)
    packed = {
        "token_ids": np.concatenate(list(IDS))[None],
        "segment_ids": np.repeat([1, 2], 13)[None],
        "positions": np.tile(np.arange(13), 2)[None],
    }
    got = logits(model, packed)[0]
    np.testing.assert_allclose(got, np.concatenate(list(logits(model))), rtol=1e-5, atol=5e-5)


@pytest.mark.parametrize("name", NEW)
def test_decoding_from_the_cache_equals_the_full_pass(name, tmp_path):
    write(tmp_path, name)
    model = hn.load_model(tmp_path)
    expected = logits(model)
    cache = model.initial_cache(2, 15)
    padding = np.array([0, 2])
    ids = np.stack([np.r_[IDS[0], 0, 0], np.r_[0, 0, IDS[1]]]).astype("int32")
    got, cache = model.decode(ids[:, :9], cache, 0, padding)
    parts = [got]
    for index in range(9, 15):
        got, cache = model.decode(ids[:, index : index + 1], cache, np.int32(index), padding)
        parts.append(got)
    got = keras.ops.convert_to_numpy(keras.ops.concatenate(parts, axis=1))
    np.testing.assert_allclose(got[0, :13], expected[0], rtol=1e-5, atol=5e-5)
    np.testing.assert_allclose(got[1, 2:], expected[1], rtol=1e-5, atol=5e-5)


def test_embeddings_are_scaled_by_a_number_rounded_to_the_compute_dtype(tmp_path):
    tensors = write(tmp_path, "gemma2")
    model = hn.load_model(tmp_path, dtype="mixed_bfloat16")
    scaled = model.backbone._embed(IDS, None)
    rows = keras.ops.cast(tensors["model.embed_tokens.weight"][IDS], "bfloat16")
    expected = rows * keras.ops.cast(5.65625, "bfloat16")  # the square root of 32 is 5.65685
    as_floats = [keras.ops.convert_to_numpy(keras.ops.cast(x, "float32")) for x in (scaled, expected)]
    np.testing.assert_array_equal(*as_floats)


@pytest.mark.parametrize("name", NEW)
def test_bfloat16_changes_logits_by_its_rounding_alone(name, tmp_path):
    write(tmp_path, name)
    expected = logits(hn.load_model(tmp_path))
    got = logits(hn.load_model(tmp_path, dtype="mixed_bfloat16"))
    error = np.sqrt(np.mean((got - expected) ** 2) / np.mean(expected**2))
    assert 1e-4 < error < 0.05


@pytest.mark.parametrize("name", ["phi3", "gpt2"])
def test_factors_of_lora_are_added_into_fused_tensors(name, tmp_path):
    write(tmp_path, name)
    model = hn.load_model(tmp_path)
    model.backbone.enable_lora(2)
    generator = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(generator.normal(size=variable.shape, scale=0.3))
    expected = logits(model)
    again = hn.load_model(hn.export_model(model, tmp_path / "tuned"))
    np.testing.assert_allclose(logits(again), expected, rtol=1e-4, atol=1e-4)
