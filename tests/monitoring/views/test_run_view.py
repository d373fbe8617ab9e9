"""What the page shows of a run: the same whether watched from the start or opened at the end."""

from __future__ import annotations

import json

import pytest

from highnoon.monitoring.views.run_page import page_text
from highnoon.monitoring.views.run_view import RunView


def begin(step: int = 0, total_steps: int = 1000, time: float = 1000.0) -> dict:
    event = "resume" if step else "train_begin"
    return {"event": event, "step": step, "time": time, "total_steps": total_steps, "vocab_size": 100}


def log(step: int, loss: float = 3.0, **metrics) -> dict:
    return {"event": "log", "step": step, "stage": "a", "time": 1000.0 + step, "train/loss": loss, **metrics}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run7" / "metrics.jsonl"


def append(path, *lines) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as stream:
        stream.writelines(json.dumps(values) + "\n" for values in lines)


def look(path) -> RunView:
    view = RunView(path)
    view.update()
    return view


def test_a_run_watched_while_it_writes_looks_like_one_opened_later(path):
    append(path, begin())
    watched = look(path)
    lines = [log(step, 3 + (step > 90) * 9.0) for step in range(10, 150, 10)]
    lines += [begin(100, time=2000.0)] + [log(step) for step in range(110, 180, 10)]
    for line in lines:
        append(path, line)
        assert watched.update()
    assert not watched.update()
    opened = look(path)
    assert watched.alerts == opened.alerts and opened.alerts
    assert watched.series == opened.series
    assert page_text(watched, now=3000.0) == page_text(opened, now=3000.0)


def test_a_file_without_resume_lines_in_which_steps_come_twice_looks_the_same_either_way(path):
    append(path, begin(), log(50), log(60, 12.0), log(70, 12.0))
    watched = look(path)
    append(path, log(60), log(70), log(80))
    watched.update()
    assert watched.series == look(path).series
    assert watched.alerts == look(path).alerts == []


def test_the_page_knows_the_vocabulary_of_a_run_that_began_after_it(path):
    append(path)
    view = look(path)
    append(path, begin(), log(50, 9.0))
    view.update()
    assert [alert.rule for alert in view.alerts] == ["high_loss"]


def test_alerts_of_steps_that_were_lost_are_gone(path):
    append(path, begin(), log(50), log(60, 12.0))
    view = look(path)
    assert {alert.step for alert in view.alerts} == {60}
    append(path, begin(50), log(60))
    view.update()
    assert view.alerts == []


def test_alerts_that_the_run_recorded_are_shown_with_those_of_the_rules_each_once(path):
    recorded = {
        "event": "alert",
        "stage": "a",
        "severity": "critical",
        "value": 12.0,
        "message": "told",
        "advice": "act",
        "action": "stop",
    }
    append(
        path,
        begin(),
        log(50),
        log(60, 12.0),
        {**recorded, "step": 60, "rule": "high_loss"},
        {**recorded, "step": 60, "rule": "mine"},
    )
    assert sorted(alert.rule for alert in look(path).alerts) == ["high_loss", "mine", "rising_loss"]


def test_what_the_run_did_about_a_fault_is_shown(path):
    append(path, begin(), log(50), log(60, 5.0))
    watched = look(path)
    append(
        path,
        {
            "event": "fault_answered",
            "answer": "go_back",
            "reason": "3 steps in a row",
            "step": 50,
            "learning_rate_factor": 0.5,
        },
    )
    append(path, log(60))
    watched.update()
    page = page_text(watched, now=1070.0)
    assert "the run answered by `go_back`: 3 steps in a row" in page and "0.5 of its plan" in page
    assert watched.series["train/loss"] == [(50, 3.0), (60, 3.0)]
    assert page == page_text(look(path), now=1070.0)


def test_time_left_follows_the_speed_since_the_last_resume(path):
    append(path, begin(), log(10), log(20))
    assert look(path).seconds_left() == 980
    append(path, begin(20, time=9000.0))
    assert look(path).seconds_left() is None
    append(path, {**log(30), "time": 9010.0}, {**log(40), "time": 9030.0})
    assert look(path).seconds_left() == 2 * 960


def test_the_page_says_where_the_run_stands(path):
    append(path, begin(), log(10), log(250, **{"train/grad_norm": 1.5}))
    page = page_text(look(path), note="the newest of 2", now=1260.0)
    for words in (
        "run7",
        "stage a",
        "running",
        "step 250 of 1,000 (25%)",
        "12 min 30 s left",
        "no alerts",
        "training loss",
        "3.0000",
        "gradient norm",
        "the newest of 2",
    ):
        assert words in page, words
    assert "no news for 16 min 40 s" in page_text(look(path), now=2250.0)
    append(path, {"event": "train_end", "step": 250})
    ended = page_text(look(path), now=1e9)
    assert "ended" in ended and "left" not in ended


def test_an_alert_comes_with_its_advice_and_says_when_it_is_over(path):
    append(path, begin(), log(50, **{"train/grad_norm": 500.0}))
    view = look(path)
    page = page_text(view, now=1060.0)
    assert "step 50, gradient_norm: " in page and "decrease the learning rate" in page
    append(path, log(60, **{"train/grad_norm": 1.0}))
    view.update()
    assert "step 50, gradient_norm, over: " in page_text(view, now=1070.0)


def test_many_alerts_hide_none_that_stands_and_is_severe(path):
    append(path, begin(), log(20, 12.0))
    norms = [(500.0 if step % 2 else 1.0) for step in range(30)]
    append(path, *(log(30 + step, 12.0, **{"train/grad_norm": norm}) for step, norm in enumerate(norms)))
    page = page_text(look(path), now=1060.0)
    alerts = page[page.index("critical") :]
    assert alerts.startswith("critical  step 20, high_loss: ")
    assert "gradient_norm: " in alerts and "not shown: " in alerts
    assert page.count("gradient_norm, over: ") < 6


def test_a_page_of_a_run_without_figures_says_so(path):
    append(path, begin())
    assert "no log point yet" in page_text(look(path))


def test_an_ascii_page_is_ascii_whatever_the_names(path):
    append(path, begin(), {**log(50, **{"train/grad_norm": 500.0}), "stage": "étape"})
    assert page_text(look(path), is_ascii=True, now=1060.0).isascii()
    assert not page_text(look(path), now=1060.0).isascii()


def test_the_page_says_of_which_step_the_figures_are(path):
    append(path, begin(total_steps=23), log(1))
    assert "figures of step" not in page_text(look(path), now=1070.0)
    append(path, {"event": "evaluation", "step": 23, "time": 1023.0, "val/loss": 2.0})
    page = page_text(look(path), now=1070.0)
    assert "step 23 of 23" in page
    assert "figures of step 1, the last log point; held-out figures of step 23" in page
