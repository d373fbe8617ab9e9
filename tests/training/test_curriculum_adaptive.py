"""The curriculum whose pace is set by the loss."""

from __future__ import annotations

import inspect
import json

import pytest

from highnoon.training.curricula.adaptive_curriculum import AdaptiveCurriculumScheduler

TEXTS = ["x" * size for size in range(1, 11)]


def prepared(**kwargs: object) -> AdaptiveCurriculumScheduler:
    scheduler = AdaptiveCurriculumScheduler(**{"verbose": False, **kwargs})
    scheduler.prepare_curriculum(TEXTS)
    return scheduler


def test_the_documented_arguments_and_defaults() -> None:
    parameters = inspect.signature(AdaptiveCurriculumScheduler).parameters
    assert {n: p.default for n, p in parameters.items() if p.kind is not p.VAR_KEYWORD} == {
        "loss_threshold_for_progression": 0.1,
        "min_epochs_per_stage": 10,
        "max_epochs_per_stage": 50,
    }


def test_a_falling_loss_keeps_the_stage_and_a_plateau_ends_it() -> None:
    scheduler = prepared(min_epochs_per_stage=2)
    falling = [scheduler.update_with_loss(epoch, 5.0 - 0.2 * epoch) for epoch in range(10)]
    assert falling == [False] * 10
    assert scheduler.update_with_loss(10, 3.15) is True
    assert scheduler.current_stage == 1


def test_a_rising_loss_is_a_plateau() -> None:
    scheduler = prepared(min_epochs_per_stage=2)
    scheduler.update_with_loss(0, 3.0)
    assert scheduler.update_with_loss(1, 4.0) is True


def test_the_loss_is_compared_with_the_best_and_not_the_last() -> None:
    scheduler = prepared(min_epochs_per_stage=3)
    scheduler.update_with_loss(0, 3.0)
    scheduler.update_with_loss(1, 4.0)
    assert scheduler.update_with_loss(2, 2.95) is True


def test_no_stage_is_shorter_than_its_least() -> None:
    scheduler = prepared(min_epochs_per_stage=4, warmup_epochs=6)
    progressed = [epoch for epoch in range(20) if scheduler.update_with_loss(epoch, 1.0)]
    assert progressed == [5, 9, 13, 17]


def test_no_stage_is_longer_than_its_most() -> None:
    scheduler = prepared(min_epochs_per_stage=1, max_epochs_per_stage=5)
    progressed = [epoch for epoch in range(12) if scheduler.update_with_loss(epoch, 100.0 - epoch)]
    assert progressed == [4, 9]


def test_the_threshold_is_the_fall_below_which_a_stage_ends() -> None:
    for threshold, progresses in ((0.0, False), (0.25, False), (0.5, True)):
        scheduler = prepared(loss_threshold_for_progression=threshold, min_epochs_per_stage=1)
        scheduler.update_with_loss(0, 2.0)
        assert scheduler.update_with_loss(1, 1.75) is progresses


def test_a_new_stage_forgets_the_best_loss_of_the_old_one() -> None:
    scheduler = prepared(min_epochs_per_stage=1)
    scheduler.update_with_loss(0, 1.0)
    assert scheduler.update_with_loss(1, 1.0) is True
    assert scheduler.update_with_loss(2, 9.0) is False
    assert scheduler.update_with_loss(3, 8.0) is False


def test_progress_decides_the_subset_and_the_epoch_does_not() -> None:
    scheduler = prepared(min_epochs_per_stage=1)
    assert len(scheduler.get_current_subset_indices(epoch=500)) == 2
    scheduler.update_with_loss(0, 1.0)
    scheduler.update_with_loss(1, 1.0)
    assert len(scheduler.get_current_subset_indices(epoch=2)) == 4
    assert scheduler.get_stage_info()["current_stage"] == 1


def test_the_last_stage_does_not_end() -> None:
    scheduler = prepared(min_epochs_per_stage=1, max_epochs_per_stage=1, num_stages=2)
    assert [scheduler.update_with_loss(epoch, 1.0) for epoch in range(4)] == [True, False, False, False]
    assert len(scheduler.get_current_subset_indices(epoch=4)) == 10


@pytest.mark.parametrize(
    "kwargs",
    [
        {"min_epochs_per_stage": 1},
        {"min_epochs_per_stage": 3, "warmup_epochs": 7},
        {"num_stages": 1},
        {"min_epochs_per_stage": 1, "max_epochs_per_stage": 1},
        {},
    ],
)
def test_epochs_to_full_data_is_the_fewest_that_a_flat_loss_takes(kwargs: dict) -> None:
    scheduler = prepared(**kwargs)
    full = scheduler.epochs_to_full_data()
    for epoch in range(full):
        assert len(scheduler.get_current_subset_indices(epoch)) < 10
        scheduler.update_with_loss(epoch, 1.0)
    assert len(scheduler.get_current_subset_indices(full)) == 10


def test_a_restored_scheduler_continues_as_the_first_would_have() -> None:
    losses = [3.0, 2.5, 2.49, 2.48, 5.0, 4.0, 3.99, 3.98, 3.97]
    first = prepared(min_epochs_per_stage=3)
    expected = [first.update_with_loss(epoch, loss) for epoch, loss in enumerate(losses)]
    assert True in expected
    for cut in range(len(losses)):
        before = prepared(min_epochs_per_stage=3)
        progressed = [before.update_with_loss(epoch, losses[epoch]) for epoch in range(cut)]
        after = prepared(min_epochs_per_stage=3)
        after.load_state_dict(json.loads(json.dumps(before.state_dict())))
        progressed += [after.update_with_loss(epoch, losses[epoch]) for epoch in range(cut, len(losses))]
        assert progressed == expected
        assert after.state_dict() == first.state_dict()


def test_every_argument_survives_its_config() -> None:
    scheduler = AdaptiveCurriculumScheduler(
        loss_threshold_for_progression=0.2,
        min_epochs_per_stage=3,
        max_epochs_per_stage=9,
        strategy="mixed",
        num_stages=3,
        warmup_epochs=4,
        initial_fraction=0.4,
        verbose=False,
        unit="step",
    )
    config = json.loads(json.dumps(scheduler.get_config()))
    assert AdaptiveCurriculumScheduler.from_config(config).get_config() == config
    assert config["max_epochs_per_stage"] == 9 and config["warmup_epochs"] == 4 and config["unit"] == "step"


def test_a_fixed_pace_is_told_to_change_nothing() -> None:
    with pytest.warns(UserWarning, match="stage_increment_epochs"):
        AdaptiveCurriculumScheduler(stage_increment_epochs=5)


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"loss_threshold_for_progression": -0.1}, "`loss_threshold_for_progression`"),
        ({"loss_threshold_for_progression": float("nan")}, "`loss_threshold_for_progression`"),
        ({"min_epochs_per_stage": 0}, "`min_epochs_per_stage`"),
        ({"min_epochs_per_stage": 9, "max_epochs_per_stage": 8}, "`max_epochs_per_stage` must be at least 9"),
        ({"warmup_epochs": 60}, "`max_epochs_per_stage` must be at least 60"),
    ],
)
def test_arguments_out_of_range_are_refused(kwargs: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AdaptiveCurriculumScheduler(**kwargs)


def test_a_loss_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        prepared().update_with_loss(0, float("nan"))


def test_an_epoch_before_the_stage_is_refused() -> None:
    scheduler = prepared(min_epochs_per_stage=1, max_epochs_per_stage=1)
    scheduler.update_with_loss(7, 1.0)
    with pytest.raises(ValueError, match="at least 8"):
        scheduler.update_with_loss(3, 1.0)
