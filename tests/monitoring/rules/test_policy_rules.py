"""Each rule on policies fires at its figure, once, and at none that is usual."""

from __future__ import annotations

import pytest

from highnoon.monitoring import AlertEngine
from highnoon.monitoring.rules.policy_rules import policy_rules

USUAL = {
    "policy/kl_step": 0.01,
    "policy/kl_reference": 0.1,
    "policy/entropy": 0.8,
    "policy/clip_fraction": 0.1,
    "reward/constant_fraction": 0.3,
    "completion/length_ratio": 1.2,
    "completion/end_fraction": 0.9,
}
BAD = {
    "policy_step_kl": ("policy/kl_step", 0.2),
    "policy_reference_kl": ("policy/kl_reference", 1.0),
    "policy_entropy": ("policy/entropy", 0.001),
    "policy_clip_fraction": ("policy/clip_fraction", 0.7),
    "reward_without_spread": ("reward/constant_fraction", 1.0),
    "completion_length": ("completion/length_ratio", 3.0),
    "completion_end": ("completion/end_fraction", 0.1),
}


def fired(metrics):
    engine = AlertEngine(policy_rules())
    lines = ({"event": "log", "step": step, **metrics} for step in range(1, 7))
    return [alert.rule for line in lines for alert in engine.observe(line)]


def test_usual_figures_fire_nothing():
    assert fired(USUAL) == []


def test_every_rule_is_tried_here():
    assert {rule.name for rule in policy_rules()} == set(BAD)


@pytest.mark.parametrize("rule", BAD)
def test_a_figure_past_its_limit_fires_its_rule_once(rule):
    name, value = BAD[rule]
    assert fired({**USUAL, name: value}) == [rule]
