"""What a stage counts is its own, and a run that is killed and resumed logs what one never killed logs."""

from __future__ import annotations

import numpy as np
import pytest

import highnoon as hn
from highnoon.training.checkpoints import checkpoint
from highnoon.training.plans.mix_fractions import MixFractions
from highnoon.training.steps.step_state import StepState

QUIET = {"log_dir": None, "verbose": False}
TIMED = {
    "train/tokens_per_second",
    "train/data_wait_fraction",
    "train/memory_bytes",
    "train/flop_utilization",
}


class View:
    """Rows whose datasets are given."""

    def __init__(self, counts) -> None:
        self.counts = np.array(counts)

    def rows_by_store(self, first, count):
        return self.counts


def told(trainer, **arguments) -> list[tuple]:
    """What a run logs and evaluates, without what the clock decides."""
    lines = []

    def note(event):
        if event["event"] in ("log", "evaluation", "epoch_end", "stage_complete"):
            metrics = {k: v for k, v in event.get("metrics", {}).items() if k not in TIMED}
            lines.append((event["event"], event["step"], event.get("stage"), metrics, event.get("loss")))

    trainer.add_callback(note)
    trainer.train(**QUIET, **arguments)
    return lines


def make_trainer(model, corpus, other_corpus) -> hn.Trainer:
    """A mixture that ends between log points, one dataset, an adaptive stage by epochs and one by steps."""
    trainer = hn.Trainer(model, batch_size=2, early_stopping_patience=9)
    adaptive = {
        "num_stages": 2,
        "min_epochs_per_stage": 1,
        "max_epochs_per_stage": 2,
        "warmup_epochs": 0,
        "initial_fraction": 0.4,
        "verbose": False,
    }
    trainer.add_curriculum_stage("mixed", [(corpus, 0.5), (other_corpus, 0.5)], steps=8)
    trainer.add_curriculum_stage("one", corpus, steps=5)
    trainer.add_curriculum_stage("other mix", [(other_corpus, 0.25), (corpus, 0.75)], steps=10)
    trainer.add_curriculum_stage(
        "paced", corpus, epochs=2, scheduler=hn.AdaptiveCurriculumScheduler(**adaptive)
    )
    scheduler = hn.AdaptiveCurriculumScheduler(**adaptive | {"max_epochs_per_stage": 9}, unit="step")
    return trainer.add_curriculum_stage("by steps", corpus, steps=12, scheduler=scheduler)


def test_fractions_of_a_mixture_are_not_reported_for_another_stage():
    mix = MixFractions(["a", "b"])
    mix.add(View([3, 1]), 0, 4)
    assert MixFractions(["a", "b"], mix.rows).report() == {"mix/a": 0.75, "mix/b": 0.25}
    assert MixFractions(["c"], ()).report() == MixFractions(["c", "d"], ()).report() == {}


def test_a_mixture_that_ends_between_log_points_is_followed_by_any_stage(
    make_model, corpus, other_corpus, script
):
    script()
    lines = told(make_trainer(make_model(), corpus, other_corpus), save_checkpoints=False, log_interval=3)
    mixes = {
        step: {name for name in metrics if name.startswith("mix/")}
        for event, step, _, metrics, _ in lines
        if event == "log"
    }
    assert len(mixes[6]) == len(mixes[15]) == 2 and not mixes[9] and not mixes[12] and not mixes[24]
    fractions = next(metrics for event, step, _, metrics, _ in lines if (event, step) == ("log", 15))
    # Rows of steps 14 and 15 alone: four rows.
    assert {fractions[f"mix/{corpus}"], fractions[f"mix/{other_corpus}"]} == {0.75, 0.25}


@pytest.mark.slow
def test_a_run_resumed_anywhere_tells_what_the_whole_run_tells_and_evaluates_each_step_once(
    make_model, corpus, other_corpus, tmp_path, script
):
    script()
    options = {"log_interval": 3, "eval_interval": 4, "checkpoint_interval": 1}
    whole = make_trainer(make_model(), corpus, other_corpus)
    lines = told(whole, checkpoint_dir=tmp_path / "a", keep_checkpoints=999, **options)
    evaluated = [(stage, step) for event, step, stage, _, _ in lines if event == "evaluation"]
    assert len(evaluated) == len(set(evaluated))
    assert {8, 12, 23} <= {step for _, step in evaluated}
    folders = checkpoint.step_folders(tmp_path / "a")
    assert len(folders) == lines[-1][1]
    # In the middle of a mixture, at an evaluation, at the end of a stage, within epochs of any kind.
    options["checkpoint_interval"] = 99
    for step in (4, 8, 12, 29, len(folders) - 9):
        before = [line for line in lines if line[1] <= step]
        folder = tmp_path / "a" / checkpoint.step_folder_name(step)
        again = make_trainer(make_model(1), corpus, other_corpus)
        rest = told(again, resume_from=folder, checkpoint_dir=tmp_path / "b", **options)
        assert rest == lines[len(before) :], f"resumed after step {step}"
        for one, other in zip(again.model.weights, whole.model.weights, strict=True):
            assert one.numpy().tobytes() == other.numpy().tobytes()


def test_usual_losses_are_forgotten_by_a_stage_of_other_data_and_kept_by_a_resumed_one(
    make_model, corpus, other_corpus, tmp_path, script, monkeypatch
):
    script()
    forgotten = []
    monkeypatch.setattr(StepState, "forget_losses", lambda state: forgotten.append(state))
    trainer = hn.Trainer(make_model(), batch_size=2, spike_threshold=6.0)
    trainer.add_curriculum_stage("a", corpus, steps=4).add_curriculum_stage("b", other_corpus, steps=4)
    trainer.train(checkpoint_dir=tmp_path / "c", checkpoint_interval=2, keep_checkpoints=9, **QUIET)
    assert len(forgotten) == 2
    trainer.train(resume_from=tmp_path / "c" / "step_00000006", checkpoint_dir=tmp_path / "d", **QUIET)
    assert len(forgotten) == 2


def test_micro_batches_that_memory_forced_stay_when_resumed_and_end_with_their_stage(
    make_model, corpus, tmp_path, script
):
    learner = script()
    trainer = hn.Trainer(make_model(), batch_size=4)
    trainer.add_curriculum_stage("a", corpus, steps=4).add_curriculum_stage("b", corpus, steps=2)
    trainer.add_callback(
        lambda event: (
            setattr(trainer.progress, "micro_batch_size", 2)
            if event["event"] == "step_end" and event["step"] == 1
            else None
        )
    )
    trainer.train(checkpoint_dir=tmp_path / "c", checkpoint_interval=2, keep_checkpoints=9, **QUIET)
    trainer.train(resume_from=tmp_path / "c" / "step_00000002", checkpoint_dir=tmp_path / "d", **QUIET)
    assert learner.sizes == [4, 4, 2, 4]


@pytest.mark.parametrize("unit", ["epoch", "step"])
def test_a_loss_that_is_not_finite_does_not_end_an_adaptive_run(make_model, corpus, script, unit):
    script({}, dict.fromkeys(range(40), float("nan")))
    scheduler = hn.AdaptiveCurriculumScheduler(
        num_stages=2,
        min_epochs_per_stage=1,
        max_epochs_per_stage=2,
        warmup_epochs=0,
        verbose=False,
        unit=unit,
    )
    length = {"epochs": 2} if unit == "epoch" else {"steps": 6}
    trainer = hn.Trainer(make_model(), batch_size=8)
    trainer.add_curriculum_stage("paced", corpus, scheduler=scheduler, **length)
    assert trainer.train(save_checkpoints=False, eval_interval=2, **QUIET)["total_steps"] > 0
