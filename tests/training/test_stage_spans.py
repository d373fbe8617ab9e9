"""The planned epochs of a stage, computed without counting them one by one."""

from __future__ import annotations

import time
import types

import numpy as np
import pytest

from highnoon.config import TrainingConfig
from highnoon.training import AdaptiveCurriculumScheduler, CurriculumScheduler
from highnoon.training.plans.stage_data import StageData
from highnoon.training.plans.stages import CurriculumStage


class FakeRows:
    """Rows of documents of one length: what planning reads, without any data."""

    num_documents = 40

    def texts(self):
        return ["x" * length for length in range(1, self.num_documents + 1)]

    def view(self, epoch, documents=None):
        return types.SimpleNamespace(num_rows=self.num_documents if documents is None else len(documents))


def stage_data(scheduler=None, **length) -> StageData:
    stage = CurriculumStage("all", ["x"], scheduler=scheduler, **length)
    return StageData(stage, TrainingConfig(batch_size=3, max_seq_length=16), FakeRows(), None, "key")


def one_by_one(data: StageData, epochs: int) -> list[tuple[int, int, int, int]]:
    """The epochs as a loop over every single step would plan them."""
    planned, stage_step = [], 0
    while stage_step < data.steps if data.steps is not None else len(planned) < epochs:
        is_adaptive = hasattr(data.stage.scheduler, "update_with_loss")

        epoch = len(planned)

        def allowed(step, epoch=epoch, is_adaptive=is_adaptive):
            return 40 if is_adaptive else data.num_allowed(epoch, step)

        taken, now = 0, allowed(stage_step)
        most = data.steps_in(data.view(0, now))
        most = most if data.steps is None else min(most, data.steps - stage_step)
        while taken < most:
            if data.counts_steps and allowed(stage_step + taken) != now:
                break
            taken += 1
        planned.append((len(planned), now, stage_step, taken))
        stage_step += taken
    return planned


SCHEDULERS = {
    "none": None,
    "epochs": {"num_stages": 5, "warmup_epochs": 2, "stage_increment_epochs": 3},
    "steps": {"unit": "step", "num_stages": 7, "warmup_epochs": 9, "stage_increment_epochs": 5},
    "tokens": {"unit": "token", "num_stages": 3, "warmup_epochs": 500, "stage_increment_epochs": 331},
    "root": {"pace": "root", "num_stages": 40, "warmup_epochs": 0, "stage_increment_epochs": 1},
    "adaptive": {"min_epochs_per_stage": 1},
}


@pytest.mark.parametrize("length", [1, 13, 14, 15, 63, 64, 200])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_spans_are_what_planning_every_step_gives(name, length):
    kind = AdaptiveCurriculumScheduler if name == "adaptive" else CurriculumScheduler
    arguments = SCHEDULERS[name]
    lengths = [{"steps": length}] + ([] if name in ("steps", "tokens") else [{"epochs": min(length, 40)}])
    for given in lengths:
        scheduler = None if arguments is None else kind(verbose=False, **arguments)
        data = stage_data(scheduler, **given)
        assert [tuple(epoch) for epoch in data.timeline(given.get("epochs", 1))] == one_by_one(
            data, given.get("epochs", 1)
        )


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_plan_of_ten_billion_steps_or_epochs_takes_no_time(name):
    kind = AdaptiveCurriculumScheduler if name == "adaptive" else CurriculumScheduler
    arguments = SCHEDULERS[name]
    start = time.perf_counter()
    for given in [{"steps": 10**10}, {"tokens": 10**15}, {"steps": 2**63 - 1}, {"epochs": 10**10}]:
        if "epochs" in given and name in ("steps", "tokens"):
            continue
        data = stage_data(None if arguments is None else kind(verbose=False, **arguments), **given)
        spans = data.spans(given.get("epochs", 1))
        assert len(spans) <= 90
        total = sum(span.num_epochs * span.num_steps for span in spans)
        assert data.steps is None or total == data.steps
        assert sum(span.num_epochs for span in spans) == given.get("epochs", sum(s.num_epochs for s in spans))
    assert time.perf_counter() - start < 2.0
    assert np.isfinite(total)
