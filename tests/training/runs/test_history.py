"""The history of epochs: columns of equal length, of bounded size, as a checkpoint stores them."""

from __future__ import annotations

import json

import pytest

from highnoon.training.checkpoints.checkpoint_state import state_problem
from highnoon.training.runs import history as module
from highnoon.training.runs.history import add_epoch, drop_beyond, keras_name, new_history
from highnoon.training.runs.progress import Progress


def epoch(number: int, **figures):
    return {"stage": "a", "epoch": number, "step": 4 * number, "loss": 3.0, "val_loss": None, **figures}


def test_figures_that_an_epoch_lacks_are_none_before_and_after():
    history = new_history()
    for figures in (epoch(1), epoch(2, val_accuracy=0.5), epoch(3)):
        add_epoch(history, figures)
    assert history["epoch"] == [1, 2, 3] and history["step"] == [4, 8, 12]
    assert history["val_accuracy"] == [None, 0.5, None]


def test_of_a_long_run_the_newest_epochs_are_retained(monkeypatch):
    monkeypatch.setattr(module, "MAX_VALUES", 60)
    history = new_history()
    for number in range(1, 100):
        add_epoch(history, epoch(number, learning_rate=0.1))
    assert history["epoch"] == list(range(90, 100))
    assert {len(column) for column in history.values()} == {10}


def test_a_run_that_goes_back_drops_the_epochs_after():
    progress = Progress(step=12)
    for number in (1, 2, 3):
        add_epoch(progress.history, epoch(number))
    progress.go_back_to(Progress(step=9))
    assert progress.history["step"] == [4, 8] and progress.history["loss"] == [3.0, 3.0]
    drop_beyond(progress.history, 0)
    assert progress.history == new_history()


@pytest.mark.parametrize(
    "metric, name",
    [
        ("val/accuracy", "val_accuracy"),
        ("val/loss/tales", "val_loss/tales"),
        ("train/learning_rate", "learning_rate"),
    ],
)
def test_metrics_have_the_names_that_keras_gives_them(metric, name):
    assert keras_name(metric) == name


@pytest.mark.parametrize(
    "history, words",
    [
        ([], "`run.progress.history`"),
        ({"step": [1]}, "expected the columns stage"),
        ({**new_history(), "loss": [1.0]}, "expected columns of equal length"),
        ({name: ["x"] for name in new_history()}, "expected integers as `step`"),
        ({**{name: [1] for name in new_history()}, "more": [{}]}, "expected numbers and texts"),
    ],
)
def test_a_history_of_another_form_is_no_state(history, words):
    problem = state_problem({"run": {"progress": {"history": history}, "schedulers": [], "callbacks": []}})
    assert problem is not None and words in problem


def test_a_checkpoint_of_an_older_version_has_an_empty_history():
    assert state_problem({"run": {"progress": {}, "schedulers": [], "callbacks": []}}) is None
    assert Progress(**json.loads('{"step": 3}')).history == new_history()
