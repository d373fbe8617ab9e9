"""Every name, parameter, default and key of the training API reference."""

from __future__ import annotations

import dataclasses
import inspect

import numpy as np
import pytest

import highnoon as hn
from highnoon import CurriculumScheduler, Trainer
from highnoon.training import AdaptiveCurriculumScheduler, create_curriculum_batches
from highnoon.training.trainer import CurriculumStage

TEXTS = [" ".join(["word"] * length) for length in (9, 1, 5, 3, 7, 2, 8, 4, 10, 6)]


def defaults_of(function) -> dict:
    return {
        name: p.default
        for name, p in inspect.signature(function).parameters.items()
        if p.default is not inspect.Parameter.empty
    }


def test_trainer_signatures():
    assert Trainer is hn.Trainer
    stage = inspect.signature(Trainer.add_curriculum_stage).parameters
    assert list(stage)[:5] == ["self", "name", "datasets", "epochs", "weight"]
    assert (stage["epochs"].default, stage["weight"].default) == (None, 1.0)
    assert any(parameter.kind is parameter.VAR_KEYWORD for parameter in stage.values())
    assert list(inspect.signature(Trainer.load).parameters)[:2] == ["path", "model"]
    assert list(inspect.signature(Trainer.save).parameters)[:2] == ["self", "path"]


def test_adding_a_stage_returns_the_trainer():
    trainer = Trainer(hn.create_model("highnoon-nano"), learning_rate=1e-4, batch_size=8, max_seq_length=2048)
    assert trainer.add_curriculum_stage("code_foundation", datasets=["the_stack_v2"], epochs=5) is trainer
    assert trainer.add_curriculum_stage("tool_use", datasets=["toolbench"], epochs=3, weight=1.5) is trainer
    assert [stage.weight for stage in trainer.stages] == [1.0, 1.5]


def test_stage_is_a_dataclass_with_the_documented_fields():
    names = [field.name for field in dataclasses.fields(CurriculumStage)]
    assert names[:5] == ["name", "datasets", "epochs", "weight", "config_overrides"]
    stage = CurriculumStage(
        name="foundation",
        datasets=["dataset1", "dataset2"],
        epochs=10,
        weight=1.0,
        config_overrides={"learning_rate": 5e-5},
    )
    assert dataclasses.asdict(stage)["config_overrides"] == {"learning_rate": 5e-5}


def test_scheduler_defaults():
    expected = {
        "strategy": "size_based",
        "num_stages": 5,
        "warmup_epochs": 10,
        "stage_increment_epochs": 20,
        "initial_fraction": 0.2,
        "verbose": True,
    }
    assert expected.items() <= defaults_of(CurriculumScheduler).items()
    assert (
        defaults_of(AdaptiveCurriculumScheduler).items()
        >= {
            "loss_threshold_for_progression": 0.1,
            "min_epochs_per_stage": 10,
            "max_epochs_per_stage": 50,
        }.items()
    )


@pytest.mark.parametrize("strategy", ["size_based", "difficulty_based", "mixed"])
def test_scheduler_methods(strategy):
    scheduler = CurriculumScheduler(
        strategy=strategy, num_stages=5, warmup_epochs=10, stage_increment_epochs=20, initial_fraction=0.2
    )
    scores = scheduler.compute_complexity_scores(TEXTS, strategy=None)
    assert isinstance(scores, np.ndarray) and scores.shape == (10,)
    order = scheduler.prepare_curriculum(TEXTS)
    assert isinstance(order, np.ndarray) and sorted(order) == list(range(10))
    assert list(scores[order]) == sorted(scores)
    indices = scheduler.get_current_subset_indices(epoch=5)
    assert list(indices) == list(order[:2])
    assert scheduler.get_stage_info() | {"current_stage": 0, "fraction": 0.2, "num_samples": 2} == (
        scheduler.get_stage_info()
    )


def test_adaptive_scheduler_reports_progress():
    scheduler = AdaptiveCurriculumScheduler(
        loss_threshold_for_progression=0.1, min_epochs_per_stage=10, max_epochs_per_stage=50, verbose=False
    )
    scheduler.prepare_curriculum(TEXTS)
    answers = [scheduler.update_with_loss(epoch=epoch, current_loss=2.1) for epoch in range(16)]
    assert answers.index(True) == 9 and all(isinstance(answer, bool) for answer in answers)


def test_batches_by_their_documented_arguments():
    data, labels = np.arange(10), np.arange(10) * 2
    batches = create_curriculum_batches(
        molecules=data, labels=labels, curriculum_indices=np.array([1, 3, 5]), batch_size=32, shuffle=True
    )
    ((samples, targets),) = batches
    assert sorted(np.asarray(samples)) == [1, 3, 5] and list(np.asarray(targets)) == [2 * s for s in samples]
    assert defaults_of(create_curriculum_batches).items() >= {"batch_size": 32, "shuffle": True}.items()
