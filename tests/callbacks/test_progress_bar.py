"""What the progress bar and its lines say: where, how fast, how long still, and how the run ended."""

from __future__ import annotations

import pytest

from highnoon.callbacks import progress_bar
from highnoon.callbacks.progress_displays.end_of_run import describe_end


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
    lines = describe_end(end_of_run(has_held_out=has_held_out))
    assert lines[1] == f"the model now has the weights of step 9, the last; {words}"


def end_of_run(**changes):
    """A `train_end` event of 9 steps."""
    summary = {"weights": "last", "best_step": None, "best_val_loss": None}
    summary |= {"best_bits_per_byte": None, "total_tokens": 1234.0}
    event = {"event": "train_end", "step": 9, "summary": summary, "best_checkpoint": None}
    event |= {"has_held_out": True, "seconds": 75.2, "checkpoint_dir": None, "log_dir": None}
    return {**event, **changes, "summary": summary | changes.get("summary", {})}


@pytest.mark.parametrize(
    "summary, line",
    [
        (
            {"weights": "best", "best_step": 6, "best_val_loss": 2.0, "best_bits_per_byte": 1.5},
            "the model now has the weights of step 6 (lowest held-out loss, 2.0000; 1.500 bits per byte)",
        ),
        (
            {"weights": "best", "best_step": 9, "best_val_loss": 2.0},
            "the model now has the weights of step 9, the last (lowest held-out loss, 2.0000)",
        ),
        (
            {"best_step": 6, "best_val_loss": 2.0, "best_bits_per_byte": 1.5},
            "the model now has the weights of step 9, the last; the lowest held-out loss, 2.0000 (1.500 bits "
            "per byte), was at step 6, in runs/best; resume with restore_best=True (--resume --restore-best) "
            "to get its weights",
        ),
        (
            {"weights": "callback", "best_step": 9, "best_val_loss": 2.0},
            "the model now has the weights that a callback set at the end; the lowest held-out loss, 2.0000, "
            "was at step 9",
        ),
    ],
    ids=["best", "best is last", "last", "callback"],
)
def test_the_closing_line_says_which_weights_the_model_has(summary, line):
    event = end_of_run(summary=summary, best_checkpoint="runs/best", checkpoint_dir="runs", log_dir="logs/a")
    first, second, third = describe_end(event)
    assert first == "training ended after 1 min 15 s: 9 steps and 1,234 tokens in all"
    assert (second, third) == (line, "checkpoints in runs, logs in logs/a")


def log(step):
    return {"event": "log", "step": step, "metrics": {"train/loss": 3.0, "train/tokens_per_second": 50.0}}


def test_lines_are_at_most_one_a_second_and_one_a_minute_shows_the_running_loss(monkeypatch, capsys):
    now = 0.0
    monkeypatch.setattr(progress_bar.time, "perf_counter", lambda: now)
    reads = []
    bar = progress_bar.ProgressBar(lambda: reads.append(now) or (2.5, 70.0))
    bar.on_event({"event": "train_begin", "step": 0, "total_steps": 400})
    for step in range(1, 401):
        now += 0.5
        bar.on_event({"event": "step_end", "step": step})
        if step <= 40:
            bar.on_event(log(step))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step ")]
    assert len(lines) == 20 + 3  # in the first 20 s at log points, then one each minute
    assert lines[0] == "step 1/400  loss 3.0000, 50 tokens/s" and "left" in lines[5]
    assert "loss 2.5000, 70 tokens/s" in lines[-1]
    assert len(reads) == 3


class Recorded:
    """A display that moves and records what it is shown."""

    seconds_between, moves = 0.2, True

    def __init__(self):
        self.shown, self.printed = [], []

    def show(self, shown):
        self.shown.append(shown)

    def print(self, line):
        self.printed.append(line)

    def close(self):
        self.printed.append("closed")


def test_a_bar_moves_at_most_five_times_a_second_with_loss_speed_and_time_left(monkeypatch):
    now, display = 0.0, Recorded()
    monkeypatch.setattr(progress_bar.time, "perf_counter", lambda: now)
    monkeypatch.setattr(progress_bar, "_choose_display", lambda: display)
    bar = progress_bar.ProgressBar(lambda: (2.5, 70.0))
    bar.on_event({"event": "train_begin", "step": 0, "total_steps": 2000})
    bar.on_event({"event": "stage_begin", "stage": "a", "step": 0, "alerts_off": []})
    for step in range(1, 1001):
        now += 0.01
        bar.on_event({"event": "step_end", "step": step})
        bar.on_event(log(step))
    assert 45 <= len(display.shown) <= 52 and not display.printed
    last = display.shown[-1]
    assert last.stage == "a" and last.figures == "loss 2.5000, 70 tokens/s"
    assert last.seconds_left == pytest.approx(0.01 * (2000 - last.step), rel=0.05)
    bar.on_event({**end_of_run(), "step": 2000})
    assert display.shown[-1].step == 2000 and len(display.printed) == 2
    bar.close()
    assert display.printed[-1] == "closed"


def test_the_epoch_line_has_the_figures_of_evaluators_and_objectives(capsys):
    metrics = {"val/loss": 2.0, "val/accuracy": 0.25, "val/loss/tales": 1.5, "train/learning_rate": 1e-3}
    event = {"stage": "a", "epoch": 1, "loss": 3.0, "val_loss": 2.0, "step": 4, "metrics": metrics}
    progress_bar.ProgressBar().on_event({"event": "epoch_end", **event})
    line = "[a] epoch 1: loss 3.0000, held-out loss 2.0000, accuracy 0.25, loss of tales 1.5\n"
    assert capsys.readouterr().out == line
