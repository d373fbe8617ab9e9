"""The curriculum of fixed pace."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys

import numpy as np
import pytest

from highnoon.training.curricula.curriculum import CurriculumScheduler

TEXTS = ["x" * size for size in (50, 10, 40, 20, 30, 10, 90, 80, 70, 60)]


def prepared(**kwargs: object) -> CurriculumScheduler:
    scheduler = CurriculumScheduler(**{"verbose": False, **kwargs})
    scheduler.prepare_curriculum(TEXTS)
    return scheduler


def test_the_documented_arguments_and_defaults() -> None:
    parameters = inspect.signature(CurriculumScheduler).parameters
    assert {name: p.default for name, p in parameters.items()} == {
        "strategy": "size_based",
        "num_stages": 5,
        "warmup_epochs": 10,
        "stage_increment_epochs": 20,
        "initial_fraction": 0.2,
        "verbose": True,
        "unit": "epoch",
        "pace": "linear",
        "reference_model": None,
    }


def test_indices_run_from_easy_to_hard_and_equal_samples_keep_their_order() -> None:
    order = CurriculumScheduler().prepare_curriculum(TEXTS)
    assert order.tolist() == [1, 5, 3, 4, 2, 0, 9, 8, 7, 6]


@pytest.mark.parametrize(
    "epoch, stage, samples",
    [
        (0, 0, 2),
        (9, 0, 2),
        (10, 1, 4),
        (29, 1, 4),
        (30, 2, 6),
        (50, 3, 8),
        (69, 3, 8),
        (70, 4, 10),
        (999, 4, 10),
    ],
)
def test_the_default_pace(epoch: int, stage: int, samples: int) -> None:
    scheduler = prepared()
    subset = scheduler.get_current_subset_indices(epoch=epoch)
    assert subset.tolist() == [1, 5, 3, 4, 2, 0, 9, 8, 7, 6][:samples]
    assert scheduler.current_stage == stage


def test_stage_info_gives_the_documented_figures() -> None:
    scheduler = CurriculumScheduler(verbose=False)
    scheduler.prepare_curriculum(["x" * (1 + i % 97) for i in range(10_000)])
    scheduler.get_current_subset_indices(epoch=30)
    assert scheduler.get_stage_info() == {
        "current_stage": 2,
        "fraction": 0.6,
        "num_samples": 6000,
        "total_samples": 10_000,
        "strategy": "size_based",
        "num_stages": 5,
    }


def test_an_earlier_epoch_gives_its_own_subset_again() -> None:
    scheduler = prepared()
    scheduler.get_current_subset_indices(epoch=100)
    assert len(scheduler.get_current_subset_indices(epoch=0)) == 2


def test_a_changed_subset_leaves_the_next_one_alone() -> None:
    scheduler = prepared()
    scheduler.get_current_subset_indices(0)[:] = -1
    assert scheduler.get_current_subset_indices(0).tolist() == [1, 5]


def test_at_least_one_sample_is_chosen() -> None:
    scheduler = CurriculumScheduler(initial_fraction=0.01, verbose=False)
    scheduler.prepare_curriculum(["a", "bc"])
    assert scheduler.get_current_subset_indices(epoch=0).tolist() == [0]


def test_a_single_stage_holds_all_samples() -> None:
    scheduler = prepared(num_stages=1)
    assert len(scheduler.get_current_subset_indices(epoch=0)) == 10
    assert scheduler.epochs_to_full_data() == 0


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"num_stages": 2, "warmup_epochs": 3},
        {"num_stages": 3, "warmup_epochs": 0, "stage_increment_epochs": 4},
        {"initial_fraction": 1.0},
        {"num_stages": 1},
    ],
)
def test_epochs_to_full_data_is_the_first_epoch_with_all_samples(kwargs: dict) -> None:
    scheduler = prepared(**kwargs)
    full = scheduler.epochs_to_full_data()
    assert len(scheduler.get_current_subset_indices(full)) == 10
    assert full == 0 or len(scheduler.get_current_subset_indices(full - 1)) < 10


def test_steps_count_like_epochs_where_the_unit_is_a_step() -> None:
    scheduler = prepared(unit="step", num_stages=3, warmup_epochs=100, stage_increment_epochs=50)
    sizes = [len(scheduler.get_current_subset_indices(epoch=step)) for step in (0, 99, 100, 149, 150)]
    assert sizes == [2, 2, 6, 6, 10]


def test_a_subset_before_preparation_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="prepare_curriculum"):
        CurriculumScheduler().get_current_subset_indices(epoch=0)
    assert CurriculumScheduler().get_stage_info()["num_samples"] == 0


def test_one_line_is_printed_when_the_stage_changes(capsys: pytest.CaptureFixture[str]) -> None:
    scheduler = prepared(verbose=True, num_stages=2, warmup_epochs=2)
    for epoch in range(4):
        scheduler.get_current_subset_indices(epoch)
    assert capsys.readouterr().out.splitlines() == [
        "curriculum: stage 1 of 2, 2 of 10 samples",
        "curriculum: stage 2 of 2, 10 of 10 samples",
    ]


def test_nothing_is_printed_when_not_verbose(capsys: pytest.CaptureFixture[str]) -> None:
    prepared(verbose=False).get_current_subset_indices(0)
    assert capsys.readouterr().out == ""


def test_state_goes_through_json_and_back() -> None:
    scheduler = prepared()
    scheduler.get_current_subset_indices(epoch=35)
    restored = prepared()
    restored.load_state_dict(json.loads(json.dumps(scheduler.state_dict())))
    assert restored.get_stage_info() == scheduler.get_stage_info()


def test_a_state_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="must have the keys"):
        CurriculumScheduler().load_state_dict({"stage": 1})
    with pytest.raises(ValueError, match="between 0 and num_stages - 1=4"):
        CurriculumScheduler().load_state_dict({"current_stage": 5})


@pytest.mark.parametrize(
    "pace, fractions",
    [
        ("linear", [0.2, 0.4, 0.6, 0.8, 1.0]),
        ("root", [0.2, 0.529150262213, 0.721110255093, 0.871779788708, 1.0]),
        ("step", [0.2, 1.0, 1.0, 1.0, 1.0]),
    ],
)
def test_the_pace_says_how_the_fraction_grows(pace: str, fractions: list[float]) -> None:
    scheduler = prepared(pace=pace)
    assert [scheduler.fraction_at(stage) for stage in range(5)] == pytest.approx(fractions)
    assert len(scheduler.get_current_subset_indices(scheduler.epochs_to_full_data())) == len(TEXTS)
    assert len(scheduler.get_current_subset_indices(scheduler.epochs_to_full_data() - 1)) < len(TEXTS)


def test_looking_ahead_moves_nothing() -> None:
    scheduler = prepared()
    scheduler.get_current_subset_indices(10)
    assert scheduler.num_samples_at(70) == 10 and scheduler.num_samples_at(10) == 4
    assert scheduler.current_stage == 1


def test_every_argument_survives_its_config() -> None:
    config = {
        "strategy": "mixed",
        "num_stages": 3,
        "warmup_epochs": 1,
        "stage_increment_epochs": 2,
        "initial_fraction": 0.4,
        "verbose": False,
        "unit": "step",
        "pace": "root",
        "reference_model": "models/small",
    }
    stored = json.dumps(CurriculumScheduler(**config).get_config())
    assert CurriculumScheduler.from_config(json.loads(stored)).get_config() == config


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"num_stages": 0}, "`num_stages` must be at least 1; received 0"),
        ({"warmup_epochs": -1}, "`warmup_epochs`"),
        ({"stage_increment_epochs": 0}, "`stage_increment_epochs`"),
        ({"initial_fraction": 0.0}, "`initial_fraction`"),
        ({"initial_fraction": float("nan")}, "`initial_fraction`"),
        ({"unit": "minute"}, "`unit`"),
        ({"pace": "brisk"}, "`pace`"),
        ({"strategy": "weight_based"}, "molecules"),
    ],
)
def test_arguments_out_of_range_are_refused(kwargs: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CurriculumScheduler(**kwargs)


def test_no_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 sample"):
        CurriculumScheduler().prepare_curriculum([])


def test_scores_may_be_asked_for_under_another_strategy() -> None:
    scheduler = CurriculumScheduler()
    texts = ["The cat sat.", "Quarks, gluons (and leptons) interact"]
    sizes = scheduler.compute_complexity_scores(texts)
    assert sizes.dtype == np.float64 and sizes.tolist() == [12, 37]
    assert scheduler.compute_complexity_scores(texts, strategy="difficulty_based").max() <= 1


def test_the_schedulers_load_no_deep_learning_library() -> None:
    code = (
        "import importlib.util, sys, types\n"
        "root = importlib.util.find_spec('highnoon').submodule_search_locations[0]\n"
        "package = types.ModuleType('highnoon.training'); package.__path__ = [root + '/training']\n"
        "sys.modules['highnoon.training'] = package\n"
        "import highnoon.training.curricula.adaptive_curriculum\n"
        "import highnoon.training.curricula.curriculum_batches\n"
        "print(sorted({'tensorflow', 'keras', 'jax'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
