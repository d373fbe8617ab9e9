"""The picture of the loss."""

from __future__ import annotations

import pytest

from highnoon.callbacks import LossCurve

pytest.importorskip("matplotlib", reason="needs highnoon[plots]")


def test_a_png_is_written_at_the_end_and_survives_a_resume(tmp_path):
    events = [
        {"event": "stage_begin", "stage": "a", "step": 0},
        {"event": "log", "step": 1, "metrics": {"train/loss": 3.0}},
        {"event": "log", "step": 2, "metrics": {"train/loss": 2.0}},
        {"event": "evaluation", "step": 2, "metrics": {"val/loss": 2.2}},
    ]
    first = LossCurve(tmp_path / "out" / "loss.png")
    for event in events:
        first.on_event(event)
    resumed = LossCurve(tmp_path / "out" / "loss.png")
    resumed.load_state_dict(first.state_dict())
    assert resumed.state_dict() == first.state_dict()
    resumed.on_event({"event": "train_end"})
    assert (tmp_path / "out" / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_a_resumed_stage_is_drawn_once_and_steps_that_are_taken_again_too(tmp_path):
    curve = LossCurve(tmp_path / "loss.png")
    for event in (
        {"event": "stage_begin", "stage": "a", "step": 0},
        {"event": "log", "step": 4, "metrics": {"train/loss": 3.0}},
        {"event": "log", "step": 5, "metrics": {"train/loss": 9.0}},
        {"event": "fault_answered", "answer": "go_back", "step": 4},
        {"event": "log", "step": 5, "metrics": {"train/loss": 2.0}},
    ):
        curve.on_event(event)
    resumed = LossCurve(tmp_path / "loss.png")
    resumed.load_state_dict(curve.state_dict())
    resumed.on_event({"event": "stage_begin", "stage": "a", "step": 5})
    assert resumed.state_dict() == {"train": [(4, 3.0), (5, 2.0)], "held_out": [], "stages": [(0, "a")]}


def test_a_stage_may_have_any_name(tmp_path):
    curve = LossCurve(tmp_path / "loss.png")
    curve.on_event({"event": "stage_begin", "stage": "$\\frac{ costs $5 \x1b[31m\ud800", "step": 0})
    curve.on_event({"event": "train_end"})
    assert (tmp_path / "loss.png").stat().st_size > 0
