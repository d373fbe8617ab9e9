"""The figures of the progress bar: means of the latest steps, read only when somebody looks."""

from __future__ import annotations

import time

import pytest

from highnoon.training.runs.running_figures import RunningFigures


class Metrics(dict):
    """A step's metrics that count how often they are read from the device."""

    num_reads = 0

    def __getitem__(self, name):
        Metrics.num_reads += 1
        return super().__getitem__(name)


def test_figures_are_of_the_steps_since_the_last_look(monkeypatch):
    now = 100.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    running = RunningFigures()
    assert running.read() is None
    for loss in range(200):
        running.add(Metrics(loss=float(loss), num_tokens=10.0))
    assert Metrics.num_reads == 0
    now += 5.0
    running.pause(1.0)
    loss, tokens_per_second = running.read()
    assert loss == pytest.approx(sum(range(150, 200)) / 50) and tokens_per_second == 200 * 10 / 4
    assert Metrics.num_reads == 100
    assert running.read() is None
    running.add(Metrics(loss=2.0, num_tokens=10.0))
    now += 2.0
    assert running.read() == (2.0, 5.0)


def test_steps_without_a_supervised_token_have_no_loss():
    running = RunningFigures()
    running.add({"loss": 0.0, "num_tokens": 0.0})
    loss, tokens_per_second = running.read()
    assert loss is None and tokens_per_second == 0
    running.add({"loss": 0.0, "num_tokens": 0.0})
    running.add({"loss": 3.0, "num_tokens": 5.0})
    assert running.read()[0] == 3.0
