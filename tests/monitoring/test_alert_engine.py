"""The engine: what it hears, what it remembers, that it depends on nothing but the lines."""

from __future__ import annotations

import json
import math
import random

import pytest

from highnoon.monitoring import AlertEngine, LevelRule, default_rules
from highnoon.monitoring.rules.alert_rule import AlertRule


def stormy_run(num_points: int = 300) -> list[dict]:
    """Figures in which every built-in rule has something to say sooner or later."""
    chance = random.Random(7)
    lines = []
    for index in range(1, num_points):
        step = 10 * index
        line = {
            "event": "log",
            "step": step,
            "stage": "a" if index < 150 else "b",
            "train/loss": 3.0 + chance.random() + (12 if 100 < index < 110 or 200 < index < 215 else 0),
            "train/grad_norm": 10 ** chance.uniform(-1, 2.5),
            "train/nan_count": float(chance.random() > 0.95),
            "train/skipped_steps": float(index // 40),
            "train/data_wait_fraction": 0.1 + 0.4 * (index // 20 % 2),
            "train/update_ratio": 10 ** (-2 + 1.5 * math.sin(index / 9)),
            "router/load_entropy": 0.85 + 0.15 * math.sin(index / 7),
            "activation/firing_rate": 0.4 + 0.2 * math.sin(index / 5),
        }
        lines.append(line)
        if index % 10 == 0:
            lines.append(
                {
                    **{key: line[key] for key in ("step", "stage")},
                    "event": "evaluation",
                    "val/loss": 3 + index / 100,
                }
            )
    return lines


def alerts_of(engine: AlertEngine, lines) -> list:
    return [alert for line in lines for alert in engine.observe(line)]


def rules():
    return [*default_rules(), "train/loss > 10 and train/grad_norm > 1 for 2 -> stop"]


def test_a_resumed_engine_says_what_one_that_was_never_stopped_says():
    lines = stormy_run()
    whole = alerts_of(AlertEngine(rules(), vocab_size=1000), lines)
    assert len({alert.rule for alert in whole}) >= 8
    for stop in range(0, len(lines), 7):
        first, second = AlertEngine(rules(), vocab_size=1000), AlertEngine(rules())
        before = alerts_of(first, lines[:stop])
        second.load_state_dict(json.loads(json.dumps(first.state_dict())))
        assert before + alerts_of(second, lines[stop:]) == whole


def test_every_rule_survives_json():
    engine = AlertEngine(rules(), vocab_size=1000)
    alerts_of(engine, stormy_run())
    state = engine.state_dict()
    other = AlertEngine(rules())
    other.load_state_dict(json.loads(json.dumps(state)))
    assert other.state_dict() == state


def test_a_line_that_came_before_is_not_judged_again():
    engine = AlertEngine(["train/loss > 1 for 2"])
    line = {"event": "log", "step": 5, "train/loss": 2.0}
    assert engine.observe(line) == engine.observe(line) == []
    assert engine.observe({**line, "step": 6})


def test_a_resumed_engine_knows_which_lines_came_before():
    first, second = AlertEngine(["train/loss > 1 for 2"]), AlertEngine(["train/loss > 1 for 2"])
    line = {"event": "log", "step": 5, "train/loss": 2.0}
    first.observe(line)
    second.load_state_dict(first.state_dict())
    assert second.observe(line) == []
    assert second.observe({**line, "step": 6})


def test_after_going_back_to_a_checkpoint_steps_are_judged_again():
    engine = AlertEngine(["train/grad_norm > 1"])
    assert engine.observe({"event": "log", "step": 50, "train/grad_norm": 2.0})
    engine.observe({"event": "log", "step": 60, "train/grad_norm": 0.0})
    again = {"event": "log", "step": 50, "train/grad_norm": 2.0}
    engine.observe({"event": "fault_answered", "answer": "cut_learning_rate", "step": 40})
    assert engine.observe(again) == []
    engine.observe({"event": "fault_answered", "answer": "go_back", "step": 40})
    assert engine.observe(again)


def test_only_figures_are_judged():
    engine = AlertEngine(["train/loss > 1"])
    assert engine.observe({"event": "epoch_end", "step": 5, "loss": 9.0, "train/loss": 9.0}) == []
    assert engine.observe({"event": "log", "step": 5, "train/loss": 9.0})


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("grad_norm_total", 500.0, "gradient_norm"),
        ("firing_rate_mean", 0.9, "firing_rate"),
        ("firing_rate", 0.002, "dead_neurons"),
        ("eval_val_loss", math.nan, "non_finite"),
        ("train_loss", math.inf, "non_finite"),
    ],
)
def test_names_that_others_give_are_understood(name, value, rule):
    assert [alert.rule for alert in AlertEngine().observe({"step": 500, name: value})] == [rule]


def test_the_vocabulary_is_read_from_the_run_s_beginning():
    engine = AlertEngine()
    engine.observe({"event": "train_begin", "step": 0, "vocab_size": 100})
    (alert,) = engine.observe({"event": "log", "step": 50, "train/loss": 9.0})
    assert alert.rule == "high_loss"


def test_two_rules_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two rules `train/loss > 1`"):
        AlertEngine(["train/loss > 1", "train/loss  >  1"])


def test_levels_out_of_order_are_refused():
    with pytest.raises(ValueError, match="from mild to severe"):
        LevelRule("x", "train/loss", [(5.0, "warning"), (2.0, "critical")], "", "")
    with pytest.raises(ValueError, match="from mild to severe"):
        LevelRule("x", "train/loss", [(1.0, "critical"), (2.0, "info")], "", "")


@pytest.mark.parametrize(
    ("wrong", "message"), [({"severity": "warn"}, "`warning`"), ({"action": "halt"}, "known")]
)
def test_a_rule_with_a_severity_or_action_that_is_none_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        AlertRule(**{"name": "x", "severity": "info", "advice": "", **wrong})


@pytest.mark.parametrize("vocab_size", [0, math.nan, "300", True])
def test_a_vocabulary_that_has_no_size_is_refused(vocab_size):
    with pytest.raises(ValueError, match="`vocab_size` must be"):
        AlertEngine(vocab_size=vocab_size)
