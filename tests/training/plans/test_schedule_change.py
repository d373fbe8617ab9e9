"""The table of an extension shows the learning rates of both schedules."""

from __future__ import annotations

import re

import pytest

from highnoon.training.plans.schedule_change import describe_schedule_change, saved_schedule
from highnoon.training.steps.run_schedule import RunSchedule


def test_every_row_has_the_rates_of_both_schedules_and_none_after_the_end_of_the_first():
    now, then = (RunSchedule([1.0], [steps], 10, "linear", 0.1) for steps in (200, 100))
    lines = describe_schedule_change(now, then, 50).splitlines()[2:]
    rows = [re.split(r"\s{2,}", line.strip()) for line in lines]
    steps = [int(row[0]) for row in rows]
    assert steps[0] == 50 and steps[-1] == 199 and 99 in steps
    for step, (_, new, old) in zip(steps, rows, strict=True):
        assert float(new) == pytest.approx(1 - 0.9 * max(0, step - 10) / 190, abs=2e-3)
        assert (
            old == "-" if step >= 100 else float(old) == pytest.approx(1 - 0.9 * (step - 10) / 90, abs=2e-3)
        )


def test_a_saved_plan_gives_the_schedule_of_its_run():
    stages = [{"steps": 5, "learning_rate": 1.0}, {"steps": 7, "learning_rate": 0.5}]
    config = {"schedule": "constant", "min_learning_rate_ratio": 0.2, "decay_ratio": 0.3}
    state = {"plan": {"stages": stages, "warmup_steps": 2}, "training_config": config}
    found = saved_schedule(state)
    assert found.stage_ends == [5, 12] and found.warmup_steps == 2
    assert [float(found(step)) for step in (0, 3, 6)] == [0.5, 1.0, 0.5]
