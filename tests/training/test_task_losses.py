"""The loss of each task: against a naive computation, over micro-batches, log points and a resume."""

from __future__ import annotations

import json
import pathlib

import keras
import numpy as np
import pytest

import highnoon as hn
from highnoon.config import ConfigError, TrainingConfig
from highnoon.tokenization import ByteTokenizer
from highnoon.training.checkpoints import checkpoint
from highnoon.training.learner import Learner
from highnoon.training.objective import NextToken, describe_objective
from highnoon.training.plans.stages import CurriculumStage
from highnoon.training.runs.task_loss_sums import TaskLossSums
from highnoon.training.steps.micro_batches import TOTAL
from highnoon.training.steps.run_schedule import RunSchedule
from highnoon.training.task_losses import TASK_IDS, TASK_LOSS

NAMES = ("alpha", "beta")
QUIET = {"log_dir": None, "verbose": False}


@pytest.fixture
def data(tmp_path: pathlib.Path) -> list[str]:
    """Two files of short documents, so that a row has several, of both tasks."""
    rng = np.random.default_rng(0)
    for name in NAMES:
        texts = ["".join(rng.choice(list(name), rng.integers(3, 12))) for _ in range(90)]
        lines = "".join(json.dumps({"text": f"{text} {number}"}) + "\n" for number, text in enumerate(texts))
        (tmp_path / f"{name}.jsonl").write_text(lines)
    return [f"{name}.jsonl" for name in NAMES]


def trainer_of(model, data, steps=8, steps_per_execution=1, **stage):
    options = {"learning_rate": 3e-3, "batch_size": 2, "gradient_accumulation_steps": 2}
    options["steps_per_execution"] = steps_per_execution
    trainer = hn.Trainer(model, max_seq_length=32, tokenizer=ByteTokenizer(), **options)
    trainer._add_stage(CurriculumStage("both", data, steps=steps, **{"tasks": NAMES, **stage}))
    return trainer


def plain_model(seed=0):
    """A model of Keras's own: it compiles in no time."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((None,), dtype="int32", name="token_ids")
    hidden = keras.layers.Dropout(0.2)(keras.layers.Embedding(263, 8)(inputs))
    return keras.Model(inputs, keras.layers.Dense(263)(hidden))


def naive_losses(model, batches) -> dict[str, float]:
    """Token by token, from the logits."""
    totals, weights = dict.fromkeys(NAMES, 0.0), dict.fromkeys(NAMES, 0.0)
    for batch in batches:
        inputs = {name: batch[name] for name in ("token_ids", "segment_ids", "positions")}
        log_probs = np.array(keras.ops.log_softmax(model(inputs, training=False)), np.float64)
        for row, column in zip(*np.nonzero(batch["loss_weights"]), strict=True):
            name = NAMES[batch[TASK_IDS][row, column] - 1]
            totals[name] -= log_probs[row, column, batch["labels"][row, column]]
            weights[name] += 1
    return {name: totals[name] / weights[name] for name in NAMES}


def test_rows_number_the_task_of_each_token(make_model, data):
    (stage,) = trainer_of(make_model(), data).stage_data()
    view = stage.view(0, stage.train_rows.num_documents)
    batch = view.read(0, view.num_rows)
    mixed = 0
    for row in range(view.num_rows):
        ids, segments = batch[TASK_IDS][row], batch["segment_ids"][row]
        for number, document in enumerate(view.documents_of(row), start=1):
            store = stage.train_rows.stores[stage.train_rows.store_of[document]]
            assert set(ids[segments == number]) == {NAMES.index(store.name.removesuffix(".jsonl")) + 1}
        assert not ids[segments == 0].any()
        mixed += len(set(ids[segments > 0])) > 1
    assert mixed > view.num_rows / 2


def test_held_out_losses_of_tasks_are_the_naive_ones(make_model, data):
    trainer = trainer_of(make_model(), data)
    figures = trainer.evaluate()
    (stage,) = trainer.stage_data()
    expected = naive_losses(trainer.model, stage.validation_batches())
    assert expected["alpha"] != pytest.approx(expected["beta"], abs=1e-4)
    for name in NAMES:
        assert figures[f"task_loss/{name}"] == pytest.approx(expected[name], rel=1e-5)


def test_micro_batches_change_no_sum_and_the_loss_is_that_without_tasks(make_model, data):
    (stage,) = trainer_of(make_model(), data).stage_data()
    batch = stage.view(0, stage.train_rows.num_documents).read(0, 10)
    sums, losses = [], []
    for size, objective in ((10, stage.objective), (3, stage.objective), (10, NextToken())):
        config, schedule = TrainingConfig(batch_size=size), RunSchedule([1e-3], [10], warmup_steps=0)
        learner = Learner(make_model(dropout=0.0), config, schedule, jit_compile=False)
        results = learner.step({name: batch[name] for name in objective.columns}, objective)
        losses.append(float(results["loss"]))
        if objective.tasks:
            sums.append(results[TOTAL + TASK_LOSS].numpy())
    np.testing.assert_allclose(sums[0], sums[1], rtol=1e-5)
    assert losses[0] == losses[2] and losses[1] == pytest.approx(losses[0], rel=1e-6)
    model = make_model(dropout=0.0)
    expected = naive_losses(model, [batch])
    np.testing.assert_allclose(sums[0][0] / sums[0][1], list(expected.values()), rtol=1e-5)
    assert sums[0][1].sum() == batch["loss_weights"].sum()
    assert sums[0][0].sum() / sums[0][1].sum() == pytest.approx(losses[0], rel=1e-5)


def logged(trainer, **arguments) -> dict[int, dict[str, float]]:
    events = {}

    def note(event):
        if event["event"] in ("log", "evaluation"):
            figures = {name: value for name, value in event["metrics"].items() if "task_loss/" in name}
            events.setdefault(event["step"], {}).update(figures)

    trainer.add_callback(note)
    trainer.train(
        **QUIET, **({} if "checkpoint_dir" in arguments else {"save_checkpoints": False}), **arguments
    )
    return events


def test_a_log_point_has_the_mean_since_the_last_one_and_a_resumed_run_the_same(data, tmp_path, monkeypatch):
    sums, add = [], TaskLossSums.add

    def recorded(self, steps):
        sums.extend(np.array(step[TOTAL + TASK_LOSS], np.float64) for step in steps)
        add(self, steps)

    every = {"log_interval": 4, "eval_interval": 8, "checkpoint_interval": 3, "keep_checkpoints": 9}
    with monkeypatch.context() as patch:
        patch.setattr(TaskLossSums, "add", recorded)
        whole = logged(trainer_of(plain_model(), data), checkpoint_dir=tmp_path / "whole", **every)
    assert sorted(whole) == [1, 4, 8] and len(sums) == 8
    for step, first in ((1, 0), (4, 1), (8, 4)):
        totals, weights = np.sum(sums[first:step], axis=0)
        for name, mean in zip(NAMES, totals / weights, strict=True):
            assert whole[step][f"train/task_loss/{name}"] == pytest.approx(mean, rel=1e-12)
    assert {f"val/task_loss/{name}" for name in NAMES} <= set(whole[8])
    sixth = checkpoint.step_folders(tmp_path / "whole")[1]
    assert sixth.name.endswith("06")
    resumed = trainer_of(plain_model(1), data)
    again = logged(resumed, checkpoint_dir=tmp_path / "again", resume_from=sixth, **every)
    assert again == {8: whole[8]}
    together = logged(trainer_of(plain_model(), data, steps_per_execution=3), log_interval=4)
    assert {step: together[step] for step in whole} == whole
    # A trainer that knows no stage of its own takes the saved one, with its tasks.
    loaded = hn.Trainer.load(tmp_path / "whole", plain_model())
    assert loaded.stages[0].tasks == list(NAMES)


def test_a_run_that_reported_no_tasks_reports_none_when_it_is_resumed(data, tmp_path):
    every = {"log_interval": 1, "checkpoint_interval": 1}
    before = trainer_of(plain_model(), data, steps=2, tasks=None)
    assert logged(before, checkpoint_dir=tmp_path / "old", **every) == {1: {}, 2: {}}
    assert not before.progress.task_sums
    (stage,) = before.stage_data()
    assert "tasks" not in stage.stage.to_dict() and TASK_IDS not in stage.view(0, 9).read(0, 1)
    assert stage.objective.columns is NextToken.columns
    first = checkpoint.step_folders(tmp_path / "old")[0]
    again = trainer_of(plain_model(1), data, steps=2)
    assert logged(again, checkpoint_dir=tmp_path / "new", resume_from=first, **every) == {2: {}}


def test_a_callback_may_monitor_the_loss_of_a_task(data):
    options = {"mode": "min", "patience": 9}
    trainer = trainer_of(plain_model(), data)
    trainer.add_callback(keras.callbacks.EarlyStopping(monitor="val_task_loss/beta", **options))
    with pytest.raises(ConfigError, match="val_task_loss/alpha"):
        trainer.add_callback(keras.callbacks.EarlyStopping(monitor="val_task_loss/gamma", **options))


def test_a_task_mix_asks_for_the_losses_of_its_tasks(data):
    trainer = hn.Trainer(plain_model(), tokenizer=ByteTokenizer(), batch_size=2, max_seq_length=32)
    mixes = [{"iters": 2, "weights": {"alpha": 1.0}}, {"iters": 2, "weights": {"alpha": 0.5, "beta": 0.5}}]
    trainer.add_task_mix(dict(zip(NAMES, data, strict=True)), mixes)
    first, second = trainer.stage_data()
    # One list of tasks for all stages, so that they share a compiled step.
    assert first.objective.tasks == second.objective.tasks == NAMES
    assert describe_objective(first.objective) == {"name": "next_token"}
    events = logged(trainer, log_interval=1)
    assert set(events[1]) == {"train/task_loss/alpha"}  # of beta there is nothing yet
    assert set(events[3]) <= {"train/task_loss/alpha", "train/task_loss/beta"} and events[3]


def test_the_domain_of_a_held_out_document_is_its_task(make_model, tmp_path, data):
    for name in ("beta", "gamma"):
        (tmp_path / "held_out" / name).mkdir(parents=True)
        (tmp_path / "held_out" / name / "texts.txt").write_text(f"the {name} text is here. " * 9)
    figures = trainer_of(make_model(), data, validation_data="held_out").evaluate()
    assert {name for name in figures if "task_loss" in name} == {"task_loss/beta"}


def test_a_model_whose_losses_are_not_known_is_trained_without(make_model, data):
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = make_model()

        def loss_terms(self, batch, training=True):
            return self.inner.loss_terms(batch, training)

    model = Own()
    model.built = True
    trainer = trainer_of(model, data)
    assert "Own.loss_terms takes no `token_losses`" in str(trainer.plan())
    assert trainer.stage_data()[0].objective.tasks == ()


@pytest.mark.parametrize("tasks", [["alpha"], "alpha", [1, 2], {"alpha": 1}])
def test_tasks_that_do_not_fit_the_datasets_are_refused(data, tasks):
    with pytest.raises(ConfigError, match="`tasks` must") as error:
        CurriculumStage("both", data, tasks=tasks)
    assert "\n" not in str(error.value)
