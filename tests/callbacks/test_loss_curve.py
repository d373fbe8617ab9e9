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
