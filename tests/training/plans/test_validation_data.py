"""Held-out data of the user's own, and limits of evaluations."""

from __future__ import annotations

import json
import pathlib

import keras
import numpy as np
import pytest

import highnoon as hn
from highnoon.config import ConfigError
from highnoon.training.checkpoints.checkpoint import CheckpointError
from highnoon.training.runs.replay import Replay
from tests.training.conftest import write_corpus

QUIET = {"save_checkpoints": False, "log_dir": None, "verbose": False}


@pytest.fixture
def make(make_model, corpus, script):
    """Returns a trainer of a scripted run over the corpus."""
    script()

    def make_trainer(**stage) -> hn.Trainer:
        trainer = hn.Trainer(make_model(), batch_size=4)
        trainer.add_curriculum_stage("one", corpus, **{"epochs": 2, **stage})
        return trainer

    return make_trainer


def held_out_texts(trainer: hn.Trainer) -> set[str]:
    (data,) = trainer.stage_data()
    return set(data.validation_rows.texts())


def texts_of(path: str) -> set[str]:
    return {json.loads(line)["text"] for line in pathlib.Path(path).read_text().splitlines()}


def test_all_of_the_validation_data_is_held_out_and_none_of_the_training_data(make, corpus, other_corpus):
    trainer = make(validation_data=other_corpus)
    (data,) = trainer.stage_data()
    assert held_out_texts(trainer) == texts_of(other_corpus)
    assert set(data.train_rows.texts()) == texts_of(corpus)
    assert "evaluated on its `validation_data`; `validation_split` is off" in str(trainer.plan())
    rows = sum(len(batch["token_ids"]) for batch in data.validation_batches())
    assert rows == data.validation_rows.view(0).num_rows


def test_the_validation_data_of_train_is_that_of_stages_without_their_own(
    make, corpus, other_corpus, tmp_path
):
    third = str(write_corpus(tmp_path, seed=2, documents=8))
    trainer = make(validation_data=other_corpus)
    trainer.add_curriculum_stage("two", corpus, epochs=1)
    trainer.train(validation_data=third, **QUIET)
    first, second = trainer.stage_data()
    assert set(first.validation_rows.texts()) == texts_of(other_corpus)
    assert set(second.validation_rows.texts()) == texts_of(third)
    trainer.train(validation_data=other_corpus, **QUIET)
    assert set(trainer.stage_data()[1].validation_rows.texts()) == texts_of(other_corpus)


def test_stages_of_different_data_share_a_best_where_their_validation_data_is_the_same(
    make, corpus, other_corpus, tmp_path
):
    third = str(write_corpus(tmp_path, seed=2, documents=8))
    trainer = make(validation_data=third)
    trainer.add_curriculum_stage("two", other_corpus, epochs=1, validation_data=third)
    keys = {data.validation_key for data in trainer.stage_data()}
    assert len(keys) == 1 and len({data.data_key for data in trainer.stage_data()}) == 2


def test_a_run_is_resumed_with_the_validation_data_that_it_began_with(make, corpus, other_corpus, tmp_path):
    third = str(write_corpus(tmp_path, seed=2, documents=8))

    def kill(event):
        if event["event"] == "step_end" and event["step"] == 4:
            raise RuntimeError("killed")

    killed = make(validation_data=other_corpus)
    killed.add_callback(kill)
    with pytest.raises(RuntimeError, match="killed"):
        killed.train(log_dir=None, verbose=False)
    with pytest.raises(CheckpointError, match="data_key is"):
        make(validation_data=third).train(resume_from=True, log_dir=None, verbose=False)
    with pytest.raises(CheckpointError, match="data_key is"):
        make().train(resume_from=True, log_dir=None, verbose=False)
    again = hn.Trainer(make().model, batch_size=4)  # takes its stages from the checkpoint
    again.train(resume_from=True, log_dir=None, verbose=False)
    assert held_out_texts(again) == texts_of(other_corpus)


def test_validation_data_in_memory_are_given_again_when_a_run_is_resumed(make, corpus):
    texts = [f"a text of some words, number {number}" for number in range(6)]

    def kill(event):
        if event["event"] == "step_end" and event["step"] == 4:
            raise RuntimeError("killed")

    killed = make(validation_data=texts)
    killed.add_callback(kill)
    with pytest.raises(RuntimeError, match="killed"):
        killed.train(log_dir=None, verbose=False)
    again = hn.Trainer(make().model, batch_size=4)
    again.train(resume_from=True, validation_data=texts, log_dir=None, verbose=False)
    assert held_out_texts(again) == set(texts)
    recipe = hn.Recipe(stages=[{"name": "one", "datasets": corpus, "validation_data": texts}])
    assert "in_memory" in recipe.to_dict()["stages"][0]["validation_data"][0]


def test_the_steps_of_a_run_with_validation_data_are_shown_without_them(make, corpus, other_corpus):
    trainer = make(validation_data=other_corpus, epochs=1)
    (data,) = trainer.stage_data()
    view = data.view(0, data.num_allowed(0, 0))
    batches = [data.batch(view, step)["token_ids"] for step in range(2)]
    trainer.train(checkpoint_dir="run", log_dir=None, verbose=False)
    pathlib.Path(other_corpus).unlink()
    replay = Replay("run")
    for step, expected in enumerate(batches, start=1):
        np.testing.assert_array_equal(replay.step(step).batch["token_ids"], expected)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], "`validation_data`: `datasets` names no dataset"),
        ([("stdlib:docs", 0.5), ("other", 0.5)], "without weights"),
        (7, "`validation_data`: each of `datasets` must be"),
        ({"name": "c.jsonl", "stream": True}, "`validation_data` reads .* as a stream"),
    ],
)
def test_what_cannot_be_held_out_is_refused(data, words, make, corpus):
    data = {**data, "name": corpus} if isinstance(data, dict) else data
    with pytest.raises(ConfigError, match=words):
        make(validation_data=data).plan()


def test_validation_steps_limit_the_evaluations_of_a_run(make, other_corpus):
    trainer = make(validation_data=other_corpus)
    (data,) = trainer.stage_data()
    sizes = {}
    for name, limits in {"all": {}, "three": {"steps": 3}, "single": {"steps": 3, "batch_size": 1}}.items():
        (batches,) = data.validation_batches_by_dataset(2**18, **limits).values()
        sizes[name] = [len(batch["token_ids"]) for batch in batches]
    assert len(sizes["all"]) > 3 and len(sizes["three"]) == 3
    assert sizes["three"] == [4, 4, 4] and sizes["single"] == [1, 1, 1]
    with pytest.raises(ConfigError, match="`validation_steps` must be"):
        trainer.train(validation_steps=0, **QUIET)
    seen = []

    class Counting(hn.Trainer.learner_class):  # type: ignore[name-defined,misc]
        def evaluate(self, batches, objective):
            seen.append(len(list(batches)))
            return super().evaluate(batches, objective)

    trainer.learner_class = Counting
    trainer.train(validation_steps=2, **QUIET)
    assert set(seen) == {2}


def test_evaluate_takes_data_and_limits(make_model, corpus, other_corpus):
    trainer = hn.Trainer(make_model(), batch_size=4)
    trainer.add_curriculum_stage("one", corpus, epochs=1)
    figures = trainer.evaluate(other_corpus)
    assert set(figures) == {"loss", "perplexity", "bits_per_byte"}
    alone = hn.Trainer(make_model(), batch_size=2)
    assert alone.evaluate(other_corpus)["loss"] == pytest.approx(figures["loss"], rel=1e-5)
    assert alone.evaluate(other_corpus, batch_size=16)["loss"] == pytest.approx(figures["loss"], rel=1e-5)
    sample = trainer.evaluate(other_corpus, steps=1)
    assert set(sample) == {"loss", "perplexity"} and sample["loss"] != figures["loss"]
    assert figures["loss"] == pytest.approx(np.log(263), rel=0.2)
    assert not keras.ops.any(keras.ops.isnan(trainer.model.weights[0]))
