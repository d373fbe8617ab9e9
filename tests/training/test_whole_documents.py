"""Runs whose rows do not cut the documents that fit into one."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable

import keras
import pytest

import highnoon as hn
from highnoon.training.plans.plan_changes import config_changes

EOS = 3


@pytest.fixture
def conversations(tmp_path: pathlib.Path) -> str:
    """A file of documents of 5 to 24 tokens: rows of 32 that are full would cut many."""
    path = tmp_path / "words.jsonl"
    texts = [("abc" * 7)[: 3 + number % 20] for number in range(40)]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return str(path)


def num_cut(trainer: hn.Trainer, stage: int = 0) -> int:
    """The rows that begin or end inside a document."""
    trainer.plan()
    view = trainer.stage_data()[stage].train_rows.view(0)
    batch = view.read(0, view.num_rows)
    begins = batch["positions"][:, 0] > 0
    last = (batch["segment_ids"] > 0).sum(1) - 1
    rows = range(view.num_rows)
    ends = [EOS not in (batch["token_ids"][row, last[row]], batch["labels"][row, last[row]]) for row in rows]
    return int((begins | ends).sum())


def make_trainer(model: keras.Model, **options: object) -> hn.Trainer:
    return hn.Trainer(model, batch_size=4, max_seq_length=32, validation_split=0.0, **options)


def test_a_run_and_a_stage_choose_whether_documents_are_cut(
    make_model: Callable[..., keras.Model], conversations: str
) -> None:
    model = make_model()
    whole = make_trainer(model, whole_documents=True)
    whole.add_curriculum_stage("whole", conversations, steps=2)
    whole.add_curriculum_stage("cut", conversations, steps=2, whole_documents=False)
    assert num_cut(whole, 0) == 0 and num_cut(whole, 1) > 0
    default = make_trainer(model)
    default.add_curriculum_stage("cut", conversations, steps=2)
    assert num_cut(default) > 0


def test_a_stream_of_whole_documents_is_refused(
    make_model: Callable[..., keras.Model], conversations: str
) -> None:
    trainer = make_trainer(make_model(), whole_documents=True)
    trainer.add_curriculum_stage("all", {"name": conversations, "stream": True}, steps=2)
    with pytest.raises(hn.config.ConfigError, match="leave `whole_documents` out"):
        trainer.plan()


def test_a_run_of_before_the_option_is_resumed_and_another_value_is_a_change() -> None:
    then = hn.config.TrainingConfig().to_dict()
    now = hn.config.TrainingConfig(whole_documents=True).to_dict()
    del then["whole_documents"]
    assert config_changes(hn.config.TrainingConfig().to_dict(), then) == []
    (change,) = config_changes(now, then)
    assert str(change) == "whole_documents is True now, False in the checkpoint"
