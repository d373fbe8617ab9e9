"""Weights & Biases: what it is told, and that a run does without it."""

from __future__ import annotations

import sys
import types

import pytest

from highnoon.callbacks import WandbLog


class Run:
    def __init__(self, arguments: dict) -> None:
        self.id, self.arguments = arguments["id"] or "new-id", arguments
        self.logged: list[tuple[dict, int]] = []
        self.alerts: list[dict] = []
        self.is_finished = False

    def log(self, metrics, step):
        self.logged.append((metrics, step))

    def alert(self, **alert):
        self.alerts.append(alert)

    def finish(self):
        self.is_finished = True


@pytest.fixture
def runs(monkeypatch):
    """Stands in for the package; holds the runs that were begun."""
    begun: list[Run] = []

    def init(**arguments):
        begun.append(Run(arguments))
        return begun[-1]

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    return begun


BEGIN = {"event": "train_begin", "step": 0, "total_steps": 10, "num_parameters": 5}
LOG = {"event": "log", "step": 3, "stage": "a", "metrics": {"train/loss": 2.0}}


def test_metrics_go_out_over_steps_and_the_run_is_closed(runs):
    callback = WandbLog("project", config={"width": 4}, mode="offline")
    callback.on_event(BEGIN)
    callback.on_event(LOG)
    callback.on_event({"event": "step_end", "step": 4})
    callback.close()
    (run,) = runs
    assert run.arguments["project"] == "project" and run.arguments["mode"] == "offline"
    assert run.arguments["config"] == {"total_steps": 10, "num_parameters": 5, "width": 4}
    assert run.logged == [({"train/loss": 2.0}, 3)]
    assert run.is_finished


def test_alerts_go_out_with_their_severity(runs):
    callback = WandbLog()
    callback.on_event(BEGIN)
    callback.on_event(
        {
            "event": "alert",
            "rule": "plateau",
            "severity": "warning",
            "step": 3,
            "message": "flat",
            "advice": "act",
        }
    )
    assert runs[0].alerts == [{"title": "plateau", "text": "step 3: flat; act", "level": "WARN"}]


def test_a_resumed_run_continues_in_the_same_run(runs):
    first, second = WandbLog(), WandbLog()
    first.on_event(BEGIN)
    second.load_state_dict(first.state_dict())
    second.on_event({**BEGIN, "step": 5})
    assert runs[1].arguments["id"] == runs[0].id
    assert runs[1].arguments["resume"] == "allow"


def test_without_the_package_the_run_is_warned_and_continues(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    callback = WandbLog()
    with pytest.warns(UserWarning, match=r"pip install 'highnoon\[wandb\]'"):
        callback.on_event(BEGIN)
    callback.on_event(LOG)
    callback.close()
