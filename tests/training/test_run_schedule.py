"""The learning rate over a run of several stages."""

from __future__ import annotations

import math

import pytest

from highnoon.training.run_schedule import RunSchedule


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
