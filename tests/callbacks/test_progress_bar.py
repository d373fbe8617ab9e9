"""What the progress lines say of the time that is left."""

from __future__ import annotations

import pytest

from highnoon.callbacks import progress_bar


@pytest.mark.parametrize(
    "ends_of_calls, estimated_at",
    [(range(1, 31), 12), ([1, *range(6, 31, 5)], 16)],
    ids=["single steps", "five steps a call"],
)
def test_time_left_counts_neither_call_that_compiles(ends_of_calls, estimated_at, monkeypatch, capsys):
    now = 0.0
    monkeypatch.setattr(progress_bar.time, "perf_counter", lambda: now)
    bar = progress_bar.ProgressBar()
    bar.on_event({"event": "train_begin", "step": 0, "total_steps": 100})
    last = 0
    for number, step in enumerate(ends_of_calls):
        now += 60 if number < 2 else 2 * (step - last)
        bar.on_event({"event": "step_end", "step": step})
        last = step
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "left" in line]
    seconds = 2 * (100 - estimated_at)
    assert line == f"2 s per step, about 0:{seconds // 60:02}:{seconds % 60:02} left"


@pytest.mark.parametrize(
    "has_held_out, words",
    [(True, "no finite held-out loss was measured"), (False, "nothing was held out")],
)
def test_the_last_line_tells_no_held_out_data_from_no_finite_loss(has_held_out, words):
    summary = {"weights": "last", "best_step": None, "best_val_loss": None}
    event = {"step": 9, "summary": summary, "best_checkpoint": None, "has_held_out": has_held_out}
    assert progress_bar.describe_end(event) == f"the model's weights are of the last step, 9; {words}"
