"""Folders that do not fit are refused, by name of what is wrong; whole ones come with their tokenizer."""

from __future__ import annotations

import json
import pathlib
import shutil

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import highnoon as hn
from highnoon.files.folder_manifest import EXPORT_MANIFEST
from highnoon.models import LimitExceededError, ModelFolderError
from highnoon.models.hugging_face.load import is_hugging_face_folder
from highnoon.tokenization import ByteTokenizer

SHAPE = {"vocab_size": 300, "embedding_dim": 16, "num_reasoning_blocks": 2, "max_seq_length": 32}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> pathlib.Path:
    """A folder as `transformers` would have it, of a small Llama."""
    model = hn.create_model("highnoon-nano", block_pattern="transformer", tie_embeddings=False, **SHAPE)
    return hn.export_model(model, tmp_path_factory.mktemp("load") / "llama")


@pytest.fixture
def folder(whole, tmp_path) -> pathlib.Path:
    """A copy to spoil, without our manifest, as folders of others are."""
    copy = pathlib.Path(shutil.copytree(whole, tmp_path / "llama"))
    (copy / EXPORT_MANIFEST).unlink()
    return copy


def change_settings(folder: pathlib.Path, **changes) -> None:
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, **changes}))


def change_tensors(folder: pathlib.Path, change) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def into_shards(folder: pathlib.Path) -> dict[str, str]:
    """Splits the weights as large models have them; returns the index."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    places = {name: f"model-{1 + i % 2:05}-of-00002.safetensors" for i, name in enumerate(names)}
    for file in set(places.values()):
        save_file({name: tensors[name] for name in names if places[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return places


def test_shards_load_as_one_file_does(whole, folder):
    into_shards(folder)
    ids = np.array([[5, 9, 77]])
    expected = keras.ops.convert_to_numpy(hn.load_model(whole)(ids))
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(hn.load_model(folder)(ids)), expected)


def test_bfloat16_weights_load_as_the_floats_that_they_are(folder):
    import ml_dtypes

    def halve(tensors):
        tensors.update({name: array.astype(ml_dtypes.bfloat16) for name, array in tensors.items()})

    change_tensors(folder, halve)
    expected = load_file(folder / "model.safetensors")["model.norm.weight"].astype("float32")
    got = hn.load_model(folder).backbone.final_norm.scale
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(got), expected)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "gpt_neo"}, "model_type 'gpt_neo'; HighNoon loads llama, mistral"),
        ({"attention_bias": True}, r"8 missing \(model.layers.0.self_attn.q_proj.bias, .*k_proj.bias"),
        ({"mlp_bias": True}, r"6 missing \(model.layers.0.mlp.gate_proj.bias"),
        ({"hidden_act": "gelu"}, "`hidden_act`='gelu', and HighNoon supports only 'silu'"),
        ({"quantization_config": {"quant_method": "fp8"}}, "quantization_config"),
        ({"logit_scale": 0.5}, "not known here: logit_scale"),
        ({"rope_parameters": {"rope_type": "longrope", "factor": 2.0}}, "longrope"),
        ({"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ({"num_attention_heads": 3, "head_dim": 5}, "head_dim"),
    ],
)
def test_a_setting_that_is_not_to_be_had_is_named(folder, changes, words):
    change_settings(folder, **changes)
    with pytest.raises(ModelFolderError, match=words):
        hn.load_model(folder)


def test_a_missing_setting_is_named(folder):
    values = json.loads((folder / "config.json").read_text())
    del values["rms_norm_eps"]
    (folder / "config.json").write_text(json.dumps(values))
    with pytest.raises(ModelFolderError, match="has no `rms_norm_eps`"):
        hn.load_model(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tensors: tensors.pop("model.norm.weight"), "1 missing \\(model.norm.weight\\)"),
        (lambda tensors: tensors.update(score=np.ones(3, "float32")), "1 unexpected \\(score\\)"),
        (
            lambda tensors: tensors.update({"model.norm.weight": np.ones(3, "float32")}),
            "model.norm.weight is \\(3,\\) and should be \\(16,\\)",
        ),
        (lambda tensors: tensors.update({"model.norm.weight": np.ones(16, "int8")}), "type I8"),
    ],
)
def test_tensors_that_do_not_fit_are_named(folder, change, words):
    change_tensors(folder, change)
    with pytest.raises(ModelFolderError, match=words):
        hn.load_model(folder)


def test_weights_of_another_family_are_refused(folder, tmp_path):
    other = hn.create_model("highnoon-nano", block_pattern="mamba_only", **SHAPE)
    other = hn.export_model(other, tmp_path / "mamba2")
    shutil.copy(other / "model.safetensors", folder / "model.safetensors")
    with pytest.raises(ModelFolderError, match="not those of LlamaForCausalLM.*missing.*unexpected"):
        hn.load_model(folder)


def test_a_damaged_file_is_refused(folder):
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelFolderError, match="damaged"):
        hn.load_model(folder)


def test_a_missing_shard_is_named(folder):
    places = into_shards(folder)
    (folder / places["model.norm.weight"]).unlink()
    with pytest.raises(ModelFolderError, match=f"{places['model.norm.weight']} is missing"):
        hn.load_model(folder)


def test_an_index_cannot_name_files_elsewhere(folder):
    places = {"model.norm.weight": "../../model.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    with pytest.raises(ModelFolderError, match="outside its folder"):
        hn.load_model(folder)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "nests lists or objects"),
        ("[]", "expected an object; received a list"),
        ("{}", "`weight_map`: expected an object; received null"),
        ('{"weight_map": [1]}', "received a list"),
        ('{"weight_map": {"a": 3}}', "the file of 'a': expected a text; received an integer"),
        ('{"weight_map": {}}', "lists no tensors"),
        ('{"weight_map": {"a": ".."}}', "outside its folder"),
        ('{"weight_map": {"a": "/etc/passwd"}}', "outside its folder"),
        ('{"weight_map": {"a": ""}}', "outside its folder"),
        ('{"weight_map": {"a": "b\\\\c"}}', "outside its folder"),
        ('{"weight_map": {"a": "\\u0000"}}', "outside"),
        ('{"weight_map": {"a": "\\ud800"}}', "."),
        ('{"weight_map": {"a": "absent"}}', "absent is missing"),
        ('{"weight_map": {"a": "config.json"}}', "damaged or no safetensors file"),
    ],
)
def test_an_index_that_does_not_fit_is_named(folder, text, words):
    (folder / "model.safetensors.index.json").write_text(text)
    with pytest.raises(ModelFolderError, match=words) as failure:
        hn.load_model(folder)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 8,
        b"\0" * 8,
        (2**40).to_bytes(8, "little") + b"{}",
        b"\x02" + b"\0" * 7 + b"{}" * 50,
        (90).to_bytes(8, "little")
        + b'{"a":{"dtype":"F32","shape":[1000000,1000000],"data_offsets":[0,4000000000000]}}'.ljust(90),
    ],
)
def test_a_file_that_holds_less_than_its_header_says_is_damaged(folder, content):
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelFolderError):
        hn.load_model(folder)


def test_a_tensor_in_two_files_is_refused(folder):
    places = into_shards(folder)
    first, second = sorted(set(places.values()))
    twice = load_file(folder / first)
    save_file({**load_file(folder / second), **dict([twice.popitem()])}, folder / second)
    with pytest.raises(ModelFolderError, match="which another file of the folder holds too"):
        hn.load_model(folder)


def test_a_tokenizer_of_more_ids_than_the_model_has_stays_behind_with_a_warning(folder):
    values = json.loads(ByteTokenizer().to_json())
    values["model"]["vocab"]["more"] = 4_000
    (folder / "tokenizer.json").write_text(json.dumps(values))
    with pytest.warns(UserWarning, match="has ids up to 4,000, and config.json has vocab_size=300"):
        assert hn.load_model(folder).tokenizer is None


def test_pickled_weights_are_refused_with_the_way_out(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelFolderError, match="safe_serialization=True"):
        hn.load_model(folder)


def test_a_folder_without_weights_says_so(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelFolderError, match="neither model.safetensors nor"):
        hn.load_model(folder)


def test_a_model_that_does_not_fit_into_memory_is_refused_before_it_is_built(folder):
    change_settings(folder, intermediate_size=2**30)
    with pytest.raises(LimitExceededError, match="GiB"):
        hn.load_model(folder)


def test_frequencies_of_old_files_are_passed_over(folder):
    def add(tensors):
        tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(4, "float32")

    change_tensors(folder, add)
    assert hn.load_model(folder).num_blocks == 2


def test_a_tied_head_may_stand_in_the_file_if_it_is_the_embedding(folder):
    change_settings(folder, tie_word_embeddings=True)
    with pytest.raises(ModelFolderError, match="tie_word_embeddings"):
        hn.load_model(folder)
    change_tensors(
        folder, lambda tensors: tensors.update({"lm_head.weight": tensors["model.embed_tokens.weight"]})
    )
    assert hn.load_model(folder).config.tie_embeddings


def test_older_spellings_of_settings_are_read(folder):
    values = json.loads((folder / "config.json").read_text())
    del values["rope_parameters"]
    values.update(rope_theta=5e5, rope_scaling={"type": "linear", "factor": 2.0}, torch_dtype="bfloat16")
    (folder / "config.json").write_text(json.dumps(values))
    config = hn.load_model(folder).config
    assert config.rope_theta == 5e5
    assert config.rope_scaling == {"rope_type": "linear", "factor": 2.0}


def test_the_modules_that_predict_further_tokens_are_left_out_with_a_warning(tmp_path):
    fields = {**SHAPE, "block_pattern": "latent_attention+moe", "num_reasoning_blocks": 1}
    model = hn.create_model(
        "highnoon-nano", **fields, num_moe_experts=2, num_shared_experts=1, router_type="sigmoid"
    )
    folder = hn.export_model(model, tmp_path / "deepseek_v3")
    (folder / EXPORT_MANIFEST).unlink()
    change_tensors(folder, lambda tensors: tensors.update({"model.layers.1.eh_proj.weight": np.ones((2, 2))}))
    with pytest.warns(UserWarning, match="ignored 1 tensors"):
        assert hn.load_model(folder).count_params() == model.count_params()


def test_the_tokenizer_comes_along(folder):
    ByteTokenizer().save(folder)
    assert hn.load_model(folder).tokenizer.encode("A") == ByteTokenizer().encode("A")


def test_a_tokenizer_that_cannot_be_used_is_told(folder):
    (folder / "tokenizer.json").write_text("{}")
    with pytest.warns(UserWarning, match="without its tokenizer"):
        assert hn.load_model(folder).tokenizer is None


def test_only_a_folder_with_a_model_type_is_taken_for_one(folder, tmp_path):
    assert is_hugging_face_folder(folder)
    assert not is_hugging_face_folder(tmp_path)
    (folder / "config.json").write_text("{")
    assert not is_hugging_face_folder(folder)
    with pytest.raises(ModelFolderError, match="damaged"):
        hn.load_model(folder)
