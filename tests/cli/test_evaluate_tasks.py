"""`highnoon evaluate --tasks` prints a table, or JSON, of a saved model's answers."""

from __future__ import annotations

import json

import pytest

import highnoon as hn
from highnoon.cli.__main__ import main
from highnoon.tokenization import ByteTokenizer

SHAPE = {"vocab_size": 263, "embedding_dim": 16, "num_reasoning_blocks": 1, "max_seq_length": 512}


@pytest.mark.slow
def test_figures_of_tasks_are_a_table_or_json(tmp_path, capsys):
    model = hn.create_model("highnoon-nano", num_heads=2, expert_dim=8, **SHAPE)
    model.tokenizer = ByteTokenizer()
    hn.save_model(model, tmp_path / "model")
    words = ["evaluate", "--model", f"{tmp_path}/model", "--tasks", "bash_command", "chain_of_thought"]
    words += ["--synthetic", "--limit", "3", "--max-length", "4"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    for expected in (
        "synthetic_bash_command: 3 of 3 prompts that a generator made",
        "95% interval",
        "ceiling",
    ):
        assert expected in printed
    assert "overall 0.000" in printed
    assert main([*words, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert [task["label"] for task in figures["tasks"]] == [
        "synthetic_bash_command",
        "synthetic_chain_of_thought",
    ]
    template = figures["tasks"][0]["metrics"]["template_accuracy"]
    assert template["cases"] == 3 and template["ceiling"] == 1.0 and template["high"] > 0.3


def test_data_and_tasks_exclude_each_other(capsys):
    for words in ([], ["--data", "a", "--tasks"]):
        with pytest.raises(SystemExit):
            main(["evaluate", "--model", "m", *words])
        assert "--data and --tasks" in capsys.readouterr().err
