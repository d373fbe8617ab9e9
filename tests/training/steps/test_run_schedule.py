"""The learning rate over a run of several stages."""

from __future__ import annotations

import math

import pytest

import highnoon as hn
from highnoon.training.checkpoints import checkpoint
from highnoon.training.steps.run_schedule import RunSchedule


def naive_rate(step: int, peaks, ends, warmup: int, ratio: float) -> float:
    stage = next(i for i, end in enumerate(ends) if step < end)
    ramp = min((step + 1) / warmup, 1)
    progress = min(max((step - warmup) / (ends[-1] - warmup), 0), 1)
    return peaks[stage] * ramp * (ratio + (1 - ratio) * 0.5 * (1 + math.cos(math.pi * progress)))


def test_cosine_equals_a_naive_loop_over_all_steps():
    peaks, ends = [1e-3, 5e-4, 2e-3], [10, 15, 40]
    schedule = RunSchedule(peaks, ends, warmup_steps=4, min_ratio=0.1)
    for step in range(40):
        assert float(schedule(step)) == pytest.approx(naive_rate(step, peaks, ends, 4, 0.1), rel=1e-5)


def test_constant_holds_the_peak_after_the_warmup():
    schedule = RunSchedule([1e-3], [100], warmup_steps=10, decay="constant")
    assert float(schedule(0)) == pytest.approx(1e-4)
    assert float(schedule(9)) == float(schedule(99)) == pytest.approx(1e-3)


def test_configuration_survives_a_round_trip():
    schedule = RunSchedule([1e-3, 1e-4], [5, 9], warmup_steps=2, decay="constant", min_ratio=0.3)
    again = RunSchedule.from_config(schedule.get_config())
    assert [float(again(step)) for step in range(9)] == [float(schedule(step)) for step in range(9)]


def test_the_decay_follows_the_position_in_the_plan_and_the_warmup_the_steps_taken():
    schedule = RunSchedule([1e-3, 5e-4], [20, 40], warmup_steps=4, min_ratio=0.1)
    schedule.align(step=2, position=6.0, pace=2.5)
    decayed = naive_rate(6, [1e-3, 5e-4], [20, 40], 4, 0.1)
    assert float(schedule(2)) == pytest.approx(decayed * 3 / 4, rel=1e-5)
    schedule.align(step=10, position=20.0, pace=4.0)
    assert float(schedule(14)) == pytest.approx(naive_rate(36, [1e-3, 5e-4], [20, 40], 4, 0.1), rel=1e-5)
    assert float(schedule(15)) == pytest.approx(5e-5, rel=1e-5), "the end of the plan is the end of the decay"


QUIET = {"log_dir": None, "verbose": False, "log_interval": 1}


def rates_of(trainer, **arguments) -> list[float]:
    rates = []
    trainer.add_callback(
        lambda event: (
            rates.append(event["metrics"]["train/learning_rate"]) if event["event"] == "log" else None
        )
    )
    trainer.train(**QUIET, **arguments)
    return rates


def make_adaptive(model, corpus, other_corpus) -> hn.Trainer:
    trainer = hn.Trainer(
        model,
        learning_rate=1e-2,
        batch_size=1,
        warmup_steps=2,
        schedule="linear",
        min_learning_rate_ratio=0.0,
    )
    scheduler = hn.AdaptiveCurriculumScheduler(
        num_stages=3,
        min_epochs_per_stage=1,
        max_epochs_per_stage=2,
        initial_fraction=0.2,
        warmup_epochs=0,
        verbose=False,
    )
    trainer.add_curriculum_stage("adaptive", corpus, epochs=4, scheduler=scheduler)
    return trainer.add_curriculum_stage("rest", other_corpus, steps=6, learning_rate=5e-3)


def test_an_adaptive_run_decays_to_its_end_and_continues_there_when_resumed(
    make_model, corpus, other_corpus, tmp_path, script
):
    script()
    whole = make_adaptive(make_model(), corpus, other_corpus)
    planned = whole.plan()
    arguments = {"checkpoint_interval": 7, "keep_checkpoints": 999}
    rates = rates_of(whole, checkpoint_dir=tmp_path / "a", **arguments)
    assert len(rates) < planned.total_steps
    # The other stage takes its own peak at its planned step; the last step is one before the end.
    total = planned.total_steps
    done = [(step - 2) / (total - 2) for step in range(planned.stages[0].steps, total)]
    assert rates[-6:] == pytest.approx([5e-3 * (1 - fraction) for fraction in done], rel=1e-4)
    falls = [before - after for before, after in zip(rates[2:-7], rates[3:-6], strict=True)]
    assert min(falls) > 0 and max(falls) < 6 * min(falls), "no jump within the stage"
    for folder in checkpoint.step_folders(tmp_path / "a")[1:-1:3]:
        step = int(folder.name.removeprefix("step_"))
        script()
        again = make_adaptive(make_model(1), corpus, other_corpus)
        rest = rates_of(again, resume_from=folder, checkpoint_dir=tmp_path / f"b{step}")
        assert rest == rates[step:], "the very same bits"


def test_a_stage_after_one_that_stopped_early_has_its_own_rate(make_model, corpus, other_corpus, script):
    script({}, {0: 1.0})
    trainer = hn.Trainer(
        make_model(),
        learning_rate=1e-2,
        batch_size=8,
        warmup_steps=0,
        schedule="linear",
        min_learning_rate_ratio=0.0,
        early_stopping_patience=1,
    )
    trainer.add_curriculum_stage("stops", corpus, epochs=9)
    trainer.add_curriculum_stage("next", other_corpus, steps=4, learning_rate=1e-3)
    total, first = trainer.plan().total_steps, trainer.plan().stages[0].steps
    rates = rates_of(trainer, save_checkpoints=False)
    assert len(rates) < total
    assert rates[-4:] == pytest.approx([1e-3 * (1 - step / total) for step in range(first, total)], rel=1e-4)
