"""Steps that are not finite, or whose loss leaps, are skipped, kept and answered as configured."""

from __future__ import annotations

import json
import signal

import numpy as np
import pytest
import tensorflow as tf

import highnoon as hn
from highnoon.callbacks.metrics_file import read_metrics
from highnoon.models.arrays import variable_arrays
from highnoon.training.checkpoints import checkpoint
from highnoon.training.plans.stage_data import StageData
from highnoon.training.steps.step import TrainStep

RUN = {"verbose": False, "log_interval": 5, "eval_interval": 100}


@pytest.fixture
def spoil(monkeypatch):
    """Makes the batches of the first epoch bad at some of its steps: spoil({3: "nan"})."""
    plan: dict[int, str] = {}
    read = StageData.batch

    def batch(self, view, step_in_epoch, *args):
        rows = read(self, view, step_in_epoch, *args)
        if view.epoch == 0 and plan.get(step_in_epoch) == "nan":
            rows["loss_weights"] = rows["loss_weights"] * np.nan
        if view.epoch == 0 and plan.get(step_in_epoch) == "leap":
            rows["labels"] = np.where(rows["loss_weights"] > 0, 5, rows["labels"]).astype(np.int32)
        return rows

    monkeypatch.setattr(StageData, "batch", batch)
    monkeypatch.setattr("highnoon.training.runs.rows_ahead._BLOCK_TOKENS", 1)  # one step a read
    return plan.update


def make_trainer(model, corpus, steps=20, **options) -> tuple[hn.Trainer, list[dict]]:
    options = {"learning_rate": 1e-2, "schedule": "constant", "warmup_steps": 0, "batch_size": 1} | options
    trainer = hn.Trainer(model, jit_compile=False, **options)
    trainer.add_curriculum_stage("only", corpus, steps=steps)
    events: list[dict] = []
    trainer.add_callback(lambda event: events.append(event))
    return trainer, events


def steps_of(events, name: str) -> list[int]:
    return [event["step"] for event in events if event["event"] == name]


def test_a_bad_batch_changes_nothing_is_counted_and_kept_with_its_documents(
    make_model, corpus, tmp_path, spoil
):
    spoil({3: "nan", 11: "nan"})
    trainer, events = make_trainer(make_model(), corpus)
    trainer.train(checkpoint_dir=tmp_path / "c", log_dir=tmp_path / "logs", **RUN)
    assert steps_of(events, "step_skipped") == [4, 12]
    assert all(np.isfinite(array).all() for array in variable_arrays(trainer.model.weights).values())
    (folder,) = (tmp_path / "logs").glob("*/skipped_steps")
    figures = json.loads((folder / "step_00000012.json").read_text())
    assert figures["position"] == {"stage": 0, "epoch": 0, "step_in_epoch": 11} and figures["in_a_row"] == 1
    data = trainer.stage_data()[0]
    view = data.view(0, data.num_allowed(0, 0))
    assert figures["documents"] == [view.documents_of(11).tolist()]
    kept = np.load(folder / "step_00000012.npz")
    np.testing.assert_array_equal(kept["token_ids"], data.batch(view, 11)["token_ids"])
    (metrics,) = (tmp_path / "logs").rglob("metrics.jsonl")
    logs = [line for line in read_metrics(metrics) if line["event"] == "log"]
    assert [line["train/skipped_steps"] for line in logs] == [0, 1, 1, 2, 2]
    assert all(np.isfinite(line["train/loss"]) for line in logs)


@pytest.mark.slow
def test_skipping_a_step_leaves_weights_and_slots_as_they_were(make_model, corpus, spoil):
    spoil({3: "nan"})
    arrays = []
    for steps in (3, 4):
        trainer, events = make_trainer(make_model(), corpus, steps)
        trainer.train(log_dir=None, save_checkpoints=False, **RUN)
        assert steps_of(events, "step_skipped") == ([4] if steps == 4 else []), "the last step counts too"
        slots = variable_arrays(trainer.optimizer.variables)
        assert slots.pop("iteration") == steps
        arrays.append(variable_arrays(trainer.model.weights) | slots)
    assert not [name for name in arrays[0] if arrays[0][name].tobytes() != arrays[1][name].tobytes()]


def test_too_many_in_a_row_stop_the_run_and_say_why(make_model, corpus, tmp_path, spoil):
    spoil(dict.fromkeys(range(4, 9), "nan"))
    trainer, events = make_trainer(make_model(), corpus, max_skipped_steps=3)
    with pytest.raises(FloatingPointError, match="3 steps in a row up to step 7 .* the loss is nan"):
        trainer.train(checkpoint_dir=tmp_path / "c", log_dir=tmp_path / "logs", **RUN)
    # The eighth was begun before the seventh was looked at, and is reported too.
    assert steps_of(events, "step_skipped") == [5, 6, 7, 8]


@pytest.mark.slow
def test_the_actions_of_the_ladder_are_taken_in_order(make_model, corpus, tmp_path, spoil):
    spoil(dict.fromkeys([4, 5, 9, 10, 14, 15], "nan"))
    ladder = ("cut_learning_rate", "go_back")
    trainer, events = make_trainer(make_model(), corpus, max_skipped_steps=2, fault_ladder=ladder)
    with pytest.raises(FloatingPointError):
        trainer.train(checkpoint_dir=tmp_path / "c", log_dir=None, checkpoint_interval=8, **RUN)
    answers = [event for event in events if event["event"] == "fault_answered"]
    assert [answer["answer"] for answer in answers] == list(ladder)
    # Flags are read one step behind, so step 7 was begun; the second time it is back at the checkpoint.
    assert [answer["step"] for answer in answers] == [7, 8]
    assert [answer["learning_rate_factor"] for answer in answers] == [0.5, 0.5]
    skipped = [event["position"]["step_in_epoch"] for event in events if event["event"] == "step_skipped"]
    assert skipped == [4, 5, 9, 10, 14, 15], "a batch was read twice, or the bad span was not passed"
    rates = [event["metrics"]["train/learning_rate"] for event in events if event["event"] == "log"]
    assert rates[0] == pytest.approx(1e-2) and rates[-1] == pytest.approx(5e-3)


@pytest.mark.slow
def test_a_leap_of_the_loss_is_skipped_only_where_asked(make_model, corpus, spoil):
    spoil({28: "leap"})
    for threshold, expected in ((None, []), (6.0, [29])):
        trainer, events = make_trainer(make_model(), corpus, steps=32, spike_threshold=threshold)
        trainer.train(log_dir=None, save_checkpoints=False, **RUN)
        assert steps_of(events, "step_skipped") == expected


@pytest.mark.slow
def test_an_exploding_learning_rate_is_stopped_with_finite_weights(make_model, corpus):
    trainer, _ = make_trainer(make_model(), corpus, steps=200, learning_rate=1e12, gradient_clip=None)
    with pytest.raises(FloatingPointError, match="Lower `learning_rate`"):
        trainer.train(log_dir=None, save_checkpoints=False, **RUN)
    assert all(np.isfinite(array).all() for array in variable_arrays(trainer.model.weights).values())


@pytest.fixture
def small_memory(monkeypatch):
    """A device on which micro-batches of more than two rows do not fit."""
    call = TrainStep.__call__

    def limited(self, *args, **options):
        if self.micro_batch_size > 2:
            raise tf.errors.ResourceExhaustedError(None, None, "out of memory")
        return call(self, *args, **options)

    monkeypatch.setattr(TrainStep, "__call__", limited)


@pytest.mark.slow
def test_a_step_that_does_not_fit_is_taken_in_halves_with_the_same_weights(make_model, corpus, small_memory):
    whole, _ = make_trainer(make_model(), corpus, 3, batch_size=2, gradient_accumulation_steps=4)
    halved, events = make_trainer(make_model(), corpus, 3, batch_size=8, auto_batch=True)
    for trainer in (whole, halved):
        trainer.train(log_dir=None, save_checkpoints=False, **RUN)
    sizes = [event["micro_batch_size"] for event in events if event["event"] == "micro_batch_halved"]
    assert sizes == [4, 2]
    one, other = variable_arrays(whole.model.weights), variable_arrays(halved.model.weights)
    assert not [name for name in one if one[name].tobytes() != other[name].tobytes()]


def test_a_step_that_does_not_fit_says_what_to_do(make_model, corpus, small_memory):
    trainer, _ = make_trainer(make_model(), corpus, 3, batch_size=8)
    with pytest.raises(tf.errors.ResourceExhaustedError) as raised:
        trainer.train(log_dir=None, save_checkpoints=False, **RUN)
    assert "micro-batches of 8 rows" in raised.value.__notes__[0]


def test_an_action_that_does_not_exist_is_refused(make_model):
    with pytest.raises(ValueError, match="cut_learning_rate, go_back"):
        hn.Trainer(make_model(), fault_ladder=("pray",))


def saved_steps(folder) -> list[int]:
    return [int(path.name.removeprefix("step_")) for path in checkpoint.step_folders(folder)]


def test_no_checkpoint_is_written_in_a_streak_of_skipped_steps(make_model, corpus, tmp_path, script):
    script(dict.fromkeys(range(5, 11), "skip"))
    trainer, events = make_trainer(make_model(), corpus, steps=14)
    trainer.train(
        checkpoint_dir=tmp_path / "c", checkpoint_interval=4, keep_checkpoints=9, log_dir=None, **RUN
    )
    # The one of step 8 stays due until the first good step.
    assert saved_steps(tmp_path / "c") == [4, 11, 12, 14]


def test_going_back_means_before_the_streak_also_after_a_stop_within_it(make_model, corpus, tmp_path, script):
    options = {"max_skipped_steps": 4, "fault_ladder": ("go_back",)}
    faults = dict.fromkeys(range(9, 13), "skip")
    arguments = {"checkpoint_interval": 4, "log_dir": None, **RUN}
    script(faults)
    whole, events = make_trainer(make_model(), corpus, steps=20, **options)
    whole.train(checkpoint_dir=tmp_path / "whole", **arguments)
    assert [(e["answer"], e["step"]) for e in events if e["event"] == "fault_answered"] == [("go_back", 8)]

    script(faults)
    stopped, _ = make_trainer(make_model(), corpus, steps=20, **options)
    stopped.add_callback(
        lambda event: (
            signal.raise_signal(signal.SIGINT)
            if event["event"] == "step_end" and event["step"] == 11
            else None
        )
    )
    with pytest.raises(KeyboardInterrupt, match="the run is saved in .*step_00000011"):
        stopped.train(checkpoint_dir=tmp_path / "c", keep_checkpoints=1, **arguments)
    assert saved_steps(tmp_path / "c") == [8, 11], "nothing is pushed out"
    again, events = make_trainer(make_model(1), corpus, steps=20, **options)
    again.train(checkpoint_dir=tmp_path / "c", resume_from=True, keep_checkpoints=1, **arguments)
    assert [(e["answer"], e["step"]) for e in events if e["event"] == "fault_answered"] == [("go_back", 8)]
    for one, other in zip(again.model.weights, whole.model.weights, strict=True):
        assert one.numpy().tobytes() == other.numpy().tobytes()


def test_going_back_skips_checkpoints_with_weights_that_are_not_finite(make_model, corpus, tmp_path, script):
    script({7: "inf", 8: "skip", 9: "skip"})
    trainer, events = make_trainer(
        make_model(), corpus, steps=12, max_skipped_steps=2, fault_ladder=("cut_learning_rate", "go_back")
    )
    trainer.train(checkpoint_dir=tmp_path / "c", checkpoint_interval=3, log_dir=None, **RUN)
    # A lower rate would not fix the weights.
    answers = [(e["answer"], e["step"]) for e in events if e["event"] == "fault_answered"]
    assert answers == [("go_back", 6)]
    assert all(np.isfinite(weight.numpy()).all() for weight in trainer.model.weights)


def test_a_checkpoint_due_while_weights_are_not_finite_is_answered_like_a_streak(
    make_model, corpus, tmp_path, script
):
    script({6: "inf"})
    trainer, events = make_trainer(make_model(), corpus, steps=9, fault_ladder=("go_back",))
    trainer.train(checkpoint_dir=tmp_path / "c", checkpoint_interval=3, log_dir=None, **RUN)
    assert steps_of(events, "fault_answered") == [3] and steps_of(events, "step_end")[-1] == 9
    assert saved_steps(tmp_path / "c") == [3, 6, 9]


def test_nothing_to_go_back_to_is_said(make_model, corpus, tmp_path, script):
    script(dict.fromkeys(range(3, 9), "skip"))
    trainer, _ = make_trainer(make_model(), corpus, steps=20, max_skipped_steps=3, fault_ladder=("go_back",))
    with pytest.raises(FloatingPointError, match="no checkpoint with finite weights from before it"):
        trainer.train(checkpoint_dir=tmp_path / "c", log_dir=None, **RUN)
