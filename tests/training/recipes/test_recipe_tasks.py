"""Tasks in a recipe: what a run holds out, and what happens where data is missing."""

from __future__ import annotations

import json

import pytest

from highnoon.training.plans.stage_sources import open_stage_sources
from highnoon.training.recipes import Recipe
from highnoon.training.recipes.make_trainer import make_trainer

RECIPE = """
model: {vocab_size: 263, embedding_dim: 8, num_reasoning_blocks: 1, max_seq_length: 64}
training: {batch_size: 2}
data_dir: data
output: run
tasks:
  bash_command: task:bash_command
  arithmetic: synthetic:chain_of_thought:60
  tool_use: task:tool_use
curriculum:
  optional: [tool_use]
  stages:
    - {iters: 1, weights: {bash_command: 0.5, arithmetic: 0.25, tool_use: 0.25}}
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.delenv("HIGHNOON_DATA", raising=False)
    monkeypatch.chdir(tmp_path)

    def unreachable(*args: object) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr("socket.create_connection", unreachable)
    folder = tmp_path / "data" / "tasks" / "bash_command"
    folder.mkdir(parents=True)
    records = [
        {"instruction": f"Wait {number % 40} s", "response": f"sleep {number}"} for number in range(80)
    ]
    (folder / "nl2bash.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (tmp_path / "run.yaml").write_text(RECIPE)
    return tmp_path / "run.yaml"


def test_optional_tasks_without_data_are_left_out_and_the_others_are_scaled_up(recipe):
    trainer = make_trainer(Recipe.load(recipe))
    with pytest.warns(UserWarning, match="goes without `task:tool_use`"):
        (opened,) = open_stage_sources(trainer.stages, "data")
    assert [source.name for source in opened.sources] == ["task:bash_command", "synthetic:chain_of_thought"]
    assert opened.weights == pytest.approx([2 / 3, 1 / 3])
