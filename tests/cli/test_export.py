"""The verb `export`: a folder in, a folder of another library out, mistakes in one line."""

from __future__ import annotations

import json

import pytest

import highnoon as hn
from highnoon.cli.__main__ import main

SHAPE = {"vocab_size": 300, "embedding_dim": 16, "num_reasoning_blocks": 1, "max_seq_length": 32}


def words(tmp_path, *more: str) -> list[str]:
    return ["export", "--model", f"{tmp_path}/model", "--output", f"{tmp_path}/out", *more]


def test_a_saved_model_becomes_a_folder_of_transformers(tmp_path, capsys):
    model = hn.create_model("highnoon-nano", block_pattern="transformer", **SHAPE)
    hn.save_model(model, tmp_path / "model")
    assert main(words(tmp_path, "--format", "hf")) == 0
    assert capsys.readouterr().out == f"{tmp_path}/out\n"
    assert json.loads((tmp_path / "out" / "config.json").read_text())["model_type"] == "llama"
    assert hn.load_model(tmp_path / "out").count_params() == model.count_params()


def test_a_pattern_of_no_family_is_one_line_and_exit_code_1(tmp_path, capsys):
    model = hn.create_model("highnoon-nano", block_pattern="gated_delta_rule", **SHAPE)
    hn.save_model(model, tmp_path / "model")
    assert main(words(tmp_path)) == 1
    message = capsys.readouterr().err
    assert "These patterns can be exported" in message
    assert message.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_unknown_format_is_wrong_usage(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words(tmp_path, "--format", "onnx"))
    assert stop.value.code == 2
    assert "'onnx'" in capsys.readouterr().err
