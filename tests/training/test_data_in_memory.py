"""A run on data in memory is planned, resumed and written to disk as one on files."""

from __future__ import annotations

import numpy as np
import pytest

import highnoon as hn
from highnoon.data import DataError
from highnoon.tokenization import ByteTokenizer
from highnoon.training.checkpoints.checkpoint import CheckpointError

SMALL = {"vocab_size": 300, "embedding_dim": 16, "num_reasoning_blocks": 1, "max_seq_length": 32}
TEXTS = [f"the fox number {number} ran over the {number} hills until the sun sank" for number in range(40)]
QUIET = {"log_dir": None, "verbose": False}


def _model():
    return hn.create_model("highnoon-nano", block_pattern="attention+mlp", **SMALL)


def _trainer(data, steps=4):
    trainer = hn.Trainer(_model(), batch_size=2, max_seq_length=32, tokenizer=ByteTokenizer())
    return trainer.add_curriculum_stage("own", datasets=data, steps=steps)


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HIGHNOON_CACHE", str(tmp_path / "cache"))


@pytest.mark.slow
def test_a_resumed_run_ends_with_the_same_bits_and_refuses_other_data(tmp_path):
    import keras

    def run(data, steps, **arguments):
        keras.utils.set_random_seed(3)
        trainer = _trainer(data, steps)
        trainer.train(checkpoint_dir=tmp_path / "ck", checkpoint_interval=2, **QUIET, **arguments)
        return [np.asarray(weight) for weight in trainer.model.weights]

    def fail(event):
        if event["event"] == "checkpoint_saved" and event["step"] == 2:
            raise RuntimeError("pulled")

    whole = run(TEXTS, 4)
    with pytest.raises(RuntimeError, match="pulled"):
        run(TEXTS, 4, callbacks=[fail])
    for one, other in zip(whole, run(list(TEXTS), 4, resume_from=True), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(CheckpointError, match="data_key is"):
        run([*TEXTS[:-1], "another last text in the list"], 4, resume_from=True)


@pytest.mark.slow
def test_a_loaded_trainer_asks_for_the_data_and_takes_it(tmp_path):
    _trainer(TEXTS).save(tmp_path / "saved")
    trainer = hn.Trainer.load(tmp_path / "saved", _model())
    with pytest.raises(DataError, match="add its stage again with the same data"):
        trainer.plan()
    trainer.add_curriculum_stage("own", datasets=lambda: iter(TEXTS), steps=4)
    assert trainer.train(save_checkpoints=False, **QUIET)["total_steps"] == 4


def test_a_recipe_describes_the_data_and_never_holds_it(tmp_path):
    stages = [{"name": "own", "datasets": [(TEXTS, 0.5), ("stdlib:docs", 0.5)], "steps": 1}]
    hn.Recipe(preset="highnoon-nano", stages=stages).save(tmp_path / "recipe.yaml")
    text = (tmp_path / "recipe.yaml").read_text()
    assert "in_memory: list of 40 texts" in text and "fox" not in text
    stage = hn.Recipe.load(tmp_path / "recipe.yaml").stages[0]
    assert stage["datasets"] == [[{"in_memory": "list of 40 texts"}, 0.5], ["stdlib:docs", 0.5]]
