"""An export is whole or absent, comes with its tokenizer, and replaces only an export."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
import tokenizers

import highnoon as hn
from highnoon.models import ModelFolderError
from highnoon.tokenization import ByteTokenizer, PretrainedTokenizer, QWTTextTokenizer
from highnoon.training import BlockDiffusion

SHAPE = {"vocab_size": 300, "embedding_dim": 16, "num_reasoning_blocks": 1, "max_seq_length": 32}


@pytest.fixture
def model():
    return hn.create_model("highnoon-nano", block_pattern="transformer", **SHAPE)


def test_special_ids_are_the_tokenizers(model, tmp_path):
    hn.export_model(model, tmp_path / "plain")
    assert json.loads((tmp_path / "plain" / "config.json").read_text())["eos_token_id"] is None
    model.tokenizer = ByteTokenizer()
    hn.export_model(model, tmp_path / "with")
    for file in ("config.json", "generation_config.json"):
        values = json.loads((tmp_path / "with" / file).read_text())
        assert (values["pad_token_id"], values["bos_token_id"], values["eos_token_id"]) == (0, 2, 3)


def test_a_model_of_block_diffusion_is_refused_and_nothing_is_written(model, tmp_path):
    model.outputs_description = BlockDiffusion(mask_id=6).describe_outputs()
    with pytest.raises(ModelFolderError, match="block diffusion"):
        hn.export_model(model, tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


@pytest.mark.slow
def test_transformers_reads_the_same_ids_from_the_same_text(model, tmp_path):
    transformers = pytest.importorskip(
        "transformers", reason="the reference needs transformers: pip install 'highnoon[bench]'"
    )
    model.tokenizer = QWTTextTokenizer().train_from_texts(["low lower lowest naïve"] * 9, vocab_size=280)
    hn.export_model(model, tmp_path / "llama")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "llama")
    text = "lowest,  naïve\n\tlow"
    ids = model.tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == ids
    assert tokenizer.decode(ids) == text
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (3, 0)


def test_an_earlier_export_is_replaced_and_nothing_else_is(model, tmp_path):
    model.tokenizer = ByteTokenizer()
    hn.export_model(model, tmp_path / "llama")
    (tmp_path / "llama" / "README.md").write_text("of its owner")
    model.tokenizer = None
    model.backbone.final_norm.scale.assign(model.backbone.final_norm.scale + 1)
    hn.export_model(model, tmp_path / "llama")
    names = {file.name for file in (tmp_path / "llama").iterdir()}
    assert names == {
        "README.md",
        "config.json",
        "generation_config.json",
        "highnoon_manifest.json",
        "model.safetensors",
    }
    again = hn.load_model(tmp_path / "llama")
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(again.backbone.final_norm.scale), 2)
    hn.save_model(model, tmp_path / "ours")
    with pytest.raises(ModelFolderError, match="no earlier export"):
        hn.export_model(model, tmp_path / "ours")
    assert hn.load_model(tmp_path / "ours").config == model.config


def test_an_export_that_fails_leaves_what_was_there(model, tmp_path, monkeypatch):
    from highnoon.models.hugging_face import export

    folder = hn.export_model(model, tmp_path / "llama")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "_write_json", fail)
    with pytest.raises(OSError, match="No space left"):
        hn.export_model(model, folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["llama"]
    with pytest.raises(OSError, match="No space left"):
        hn.export_model(model, tmp_path / "new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["llama"]


def test_files_are_readable_by_whom_others_are(model, tmp_path):
    folder = hn.export_model(model, tmp_path / "llama")
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "file").touch()
    assert folder.stat().st_mode == (tmp_path / "plain").stat().st_mode
    expected = (tmp_path / "plain" / "file").stat().st_mode
    assert {file.stat().st_mode for file in folder.iterdir()} == {expected}


def test_factors_of_lora_are_added_into_their_kernels(model, tmp_path):
    model.backbone.enable_lora(2)
    generator = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(generator.normal(size=variable.shape, scale=0.3))
    ids = np.array([[5, 9, 77, 12]])
    expected = keras.ops.convert_to_numpy(model(ids))
    again = hn.load_model(hn.export_model(model, tmp_path / "llama"))
    assert again.backbone.lora is None
    np.testing.assert_allclose(keras.ops.convert_to_numpy(again(ids)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_quantized_model_is_refused(model, tmp_path):
    model.backbone.quantize("int8")
    with pytest.raises(ModelFolderError, match="before `quantize`"):
        hn.export_model(model, tmp_path / "llama")
    assert not (tmp_path / "llama").exists()


def test_an_unknown_format_is_refused(model, tmp_path):
    with pytest.raises(ValueError, match="`format` must be one of 'hf'; received 'onnx'"):
        hn.export_model(model, tmp_path / "llama", format="onnx")


def test_a_pattern_of_no_family_writes_nothing(tmp_path):
    model = hn.create_model("highnoon-nano", block_pattern="gated_delta_rule", **SHAPE)
    with pytest.raises(ModelFolderError, match="These patterns can be exported"):
        hn.export_model(model, tmp_path / "folder")
    assert not list(tmp_path.iterdir())


def pretrained(with_begin: bool) -> PretrainedTokenizer:
    """A published tokenizer whose own post-processor adds an end token, and a begin token if it has one."""
    special = ["<s>", "</s>"] if with_begin else ["</s>"]
    vocab = {piece: place for place, piece in enumerate([*special, "a", "b"])}
    engine = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocab, merges=[]))
    engine.add_special_tokens(special)
    engine.post_processor = tokenizers.processors.TemplateProcessing(
        single=" ".join([*special[:-1], "$A", "</s>"]),
        special_tokens=[(name, vocab[name]) for name in special],
    )
    return PretrainedTokenizer(engine.to_str())


@pytest.mark.parametrize(
    "tokenizer",
    [
        ByteTokenizer(),
        QWTTextTokenizer().train_from_texts(["low lower lowest"] * 9, vocab_size=280),
        pretrained(with_begin=True),
        pretrained(with_begin=False),
    ],
)
def test_the_exported_tokenizer_frames_a_text_as_training_does_without_the_end(model, tokenizer, tmp_path):
    model.tokenizer = tokenizer
    folder = hn.export_model(model, tmp_path / "llama")
    engine = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    for text in ("a", "ab ba", ""):
        *expected, end = tokenizer.encode(text)
        assert end == tokenizer.eos_token_id and engine.encode(text).ids == expected
        assert engine.encode(text, add_special_tokens=False).ids == tokenizer.encode(text, False)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    assert settings["add_bos_token"] == (tokenizer.bos_token_id is not None)
    assert settings["add_eos_token"] is False
    again = hn.load_model(folder).tokenizer
    assert type(again) is type(tokenizer) and again.encode("ab") == tokenizer.encode("ab")
