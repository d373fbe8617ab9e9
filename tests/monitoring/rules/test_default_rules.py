"""The rules that watch every run: when each fires, when it is silent, what it advises."""

from __future__ import annotations

import math

import pytest

from highnoon.monitoring import Alert, AlertEngine, LevelRule, default_rules
from highnoon.monitoring.rules.high_loss_rule import HighLossRule
from highnoon.monitoring.rules.overfitting_rule import OverfittingRule
from highnoon.monitoring.rules.plateau_rule import PlateauRule
from highnoon.monitoring.rules.rising_loss_rule import RisingLossRule

VOCAB = 1000
GUESSING = math.log(VOCAB)


def fired(points, event="log", vocab_size=VOCAB) -> list[Alert]:
    """Returns the alerts of (step, metrics) or (step, metrics, stage) points."""
    engine = AlertEngine(vocab_size=vocab_size)
    alerts = []
    for step, metrics, *stage in points:
        kind = "evaluation" if set(metrics) == {"val/loss"} else event
        alerts += engine.observe(
            {"event": kind, "step": step, "stage": "a", **metrics} | ({"stage": stage[0]} if stage else {})
        )
    return alerts


def levels(points) -> list[tuple[str, str, int]]:
    return [(alert.rule, alert.severity, alert.step) for alert in fired(points)]


def losses(values, every=10, start=0):
    return [(start + every * index, {"train/loss": value}) for index, value in enumerate(values, start=1)]


@pytest.mark.parametrize(
    "metrics",
    [
        {"train/loss": math.nan},
        {"train/loss": math.inf},
        {"val/loss": math.nan},
        {"train/loss": 3.0, "train/grad_norm": math.nan},
        {"train/loss": 3.0, "train/nan_count": 2.0},
        {"train/loss": 3.0, "train/inf_count": 1.0},
    ],
)
def test_what_is_not_finite_is_critical(metrics):
    assert levels([(1, metrics)]) == [("non_finite", "critical", 1)]


def test_gradients_that_overflow_under_a_loss_scale_are_no_alert_but_losses_are():
    overflow = {"train/grad_norm": math.inf, "train/grad_max": math.nan, "train/inf_count": 3.0}
    assert levels([(1, {"train/loss": 3.0, "train/loss_scale": 1024.0, **overflow})]) == []
    assert levels([(1, {"train/loss": 3.0, "train/loss_scale": 1.0, **overflow})])
    assert levels([(1, {"train/loss": math.nan, "train/loss_scale": 1024.0, **overflow})])


def test_counts_of_zero_are_fine():
    assert levels([(1, {"train/loss": 3.0, "train/nan_count": 0.0, "train/inf_count": 0.0})]) == []


def test_a_loss_is_high_next_to_guessing_and_not_next_to_a_fixed_number():
    assert GUESSING < 10 < 1.5 * GUESSING
    assert levels(losses([10.0, 10.0, 10.0])) == []
    assert ("high_loss", "critical", 20) in levels(losses([GUESSING, 11.0]))


def test_a_high_loss_is_not_told_in_the_first_steps():
    assert levels([(1, {"train/loss": 20.0}), (10, {"train/loss": 20.0})]) == []


def test_without_a_vocabulary_no_loss_is_high():
    assert fired(losses([20.0] * 5), vocab_size=None) == []


@pytest.mark.parametrize(("later", "rule"), [(11.0, "high_loss"), (6.0, "rising_loss")])
def test_rules_on_the_loss_are_quiet_after_a_stage_begins(later, rule):
    before = losses([3.0] * 20)
    jump = [(200 + 10 * index, {"train/loss": 5.0 if index == 1 else later}, "b") for index in range(1, 40)]
    alerts = fired([*before, *jump])
    assert {alert.rule for alert in alerts} == {rule} | ({"rising_loss"} if rule == "high_loss" else set())
    assert min(alert.step for alert in alerts) == 210 + 110


def test_a_rising_loss_is_told_and_a_falling_one_is_not():
    falling = [5 - index / 20 for index in range(40)]
    assert levels(losses(falling)) == []
    assert [rule for rule, *_ in levels(losses([*falling, 4.0, 4.5]))] == ["rising_loss"]


def test_a_plateau_takes_500_steps_whatever_the_log_interval():
    for every in (10, 100):
        (alert,) = fired(losses([4.0] * (2000 // every), every))
        assert (alert.rule, alert.step) == ("plateau", every + 500)


def test_small_gains_that_add_up_are_no_plateau():
    assert levels(losses([4 - index * 5e-5 for index in range(200)])) == []


def test_a_new_stage_begins_a_new_plateau():
    stages = [(step, {"train/loss": 4.0}, "a" if step <= 400 else "b") for step in range(10, 901, 10)]
    assert levels(stages) == []


def held_out(values, training):
    points = []
    for index, (value, loss) in enumerate(zip(values, training, strict=True), start=1):
        points += [(100 * index, {"train/loss": loss}), (100 * index, {"val/loss": value})]
    return points


def test_overfitting_is_a_validation_loss_that_rises_while_the_training_loss_falls():
    def told(values, training):
        return [step for rule, _, step in levels(held_out(values, training)) if rule == "overfitting"]

    rising, falling = [3.0, 2.5, 2.55, 2.6, 2.7, 2.8], [3.0, 2.4, 2.2, 2.0, 1.8, 1.6]
    assert told(rising, falling) == [500]
    assert told(rising, [2.4, 2.4, 2.4, 2.42, 2.43, 2.44]) == []
    assert told([3.0, 2.5, 2.55, 2.6, 2.4, 2.45], falling) == []


def norms(values):
    return [(20 + step, {"train/loss": 3.0, "train/grad_norm": value}) for step, value in enumerate(values)]


def test_gradient_norms_have_two_levels():
    assert levels(norms([2.0, 9.9])) == []
    assert levels(norms([11.0, 50.0, 101.0])) == [
        ("gradient_norm", "info", 20),
        ("gradient_norm", "warning", 22),
    ]
    assert levels(norms([150.0])) == [("gradient_norm", "warning", 20)]


def test_an_alert_is_told_again_only_after_it_was_over():
    assert len(levels(norms([12.0, 9.5, 12.0, 9.0, 12.0]))) == 1
    assert len(levels(norms([12.0, 7.0, 12.0]))) == 2


def test_large_gradients_are_not_answered_with_a_larger_clip():
    (alert,) = fired(norms([150.0]))
    assert "decrease the learning rate" in alert.advice
    assert "smaller" in alert.advice
    assert "increase" not in alert.advice and "larger" not in alert.advice


@pytest.mark.parametrize(
    ("metric", "bad", "good", "rule", "severity"),
    [
        ("activation/firing_rate", 0.6, 0.1, "firing_rate", "warning"),
        ("activation/firing_rate", 0.001, 0.1, "dead_neurons", "critical"),
        ("activation/firing_rate_level_5", 0.6, 0.1, "firing_rate", "warning"),
        ("router/load_entropy", 0.6, 0.97, "dead_experts", "warning"),
        ("train/data_wait_fraction", 0.5, 0.02, "starved", "warning"),
        ("train/update_ratio", 0.05, 1e-3, "update_too_large", "info"),
        ("train/update_ratio", 0.5, 1e-3, "update_too_large", "warning"),
        ("train/update_ratio", 1e-7, 1e-3, "update_too_small", "info"),
    ],
)
def test_levels_fire_on_the_wrong_side_alone(metric, bad, good, rule, severity):
    def points(value):
        return [(200 + step, {"train/loss": 3.0, metric: value}) for step in range(4)]

    assert [(name, level) for name, level, _ in levels(points(bad))] == [(rule, severity)]
    assert levels(points(good)) == []


def test_each_dead_level_is_reported_once_though_the_mean_is_fine():
    def point(step, *rates):
        levels_of = {f"activation/firing_rate_level_{level}": rate for level, rate in enumerate(rates)}
        return step, {"train/loss": 3.0, "activation/firing_rate": sum(rates) / len(rates), **levels_of}

    points = [
        point(1, 0.2, 0.0, 0.1),
        point(2, 0.2, 0.0, 0.1),
        point(3, 0.2, 0.0, 0.004),  # a second one dies
        point(4, 0.2, 0.011, 0.004),  # not yet alive enough to be armed again
        point(5, 0.2, 0.005, 0.1),
        point(6, 0.2, 0.1, 0.1),
        point(7, 0.7, 0.0, 0.1),
    ]
    alerts = fired(points)
    assert [(alert.rule, alert.severity, alert.step) for alert in alerts] == [
        ("dead_neurons", "critical", 1),
        ("dead_neurons", "critical", 3),
        ("firing_rate", "warning", 7),
        ("dead_neurons", "critical", 7),
    ]
    assert "0 of the neurons fire in level 1, less than 0.01" in alerts[0].message
    assert "0.004 of the neurons fire in level 2," in alerts[1].message
    assert "sparsity" in alerts[2].advice and "0.7 of the neurons fire in level 0," in alerts[2].message


def test_a_run_without_spiking_layers_has_no_dead_neurons():
    silent = {"train/loss": 3.0, "activation/mean": 0.0, "activation/active_neurons": 0.0}
    assert levels([(step, silent) for step in range(1, 9)]) == []


def test_advice_on_neurons_is_given_to_spiking_models_alone():
    (alert,) = fired([(1, {"train/loss": math.nan})])
    (spiking,) = fired([(1, {"train/loss": math.nan, "activation/firing_rate": 0.1})])
    assert "tau_mem" in spiking.advice and "tau_mem" not in alert.advice
    assert "lower learning rate" in alert.advice and spiking.advice.startswith(alert.advice)


def test_one_hungry_log_point_is_not_starving():
    waits = [0.5, 0.0, 0.5, 0.5, 0.0]
    assert levels([(50 + i, {"train/data_wait_fraction": wait}) for i, wait in enumerate(waits)]) == []


def test_skipped_steps_are_told_when_their_count_grows():
    counts = [0, 0, 2, 2, 3]
    points = [(step, {"train/skipped_steps": float(count)}) for step, count in enumerate(counts, start=1)]
    assert levels(points) == [("skipped_steps", "warning", 3), ("skipped_steps", "warning", 5)]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 10**400, None, "2.0", True])
def test_a_figure_that_is_no_number_is_never_the_best_and_changes_no_later_alert(bad):
    names = ("train/loss", "val/loss", "train/grad_norm", "train/skipped_steps")

    def alerts(spoiled: bool) -> list[str]:
        engine, found = AlertEngine(default_rules(), vocab_size=10), []
        for step in range(10, 1500, 10):
            held_out = 1 + abs(step - 700) / 700
            if spoiled and step % 50 == 0:
                record = dict.fromkeys(names, bad)
            else:
                record = {"train/loss": 2 - step / 1500, "val/loss": held_out, "train/grad_norm": 1.0}
            found += engine.observe({"event": "log", "step": step, "stage": "a", **record})
        return [alert.rule for alert in found if alert.rule != "non_finite"]

    assert alerts(True) == alerts(False) == ["overfitting"]


@pytest.mark.parametrize(
    ("rule", "values"),
    [
        (HighLossRule, {"factor": math.nan}),
        (PlateauRule, {"min_delta": math.inf}),
        (PlateauRule, {"num_steps": 0}),
        (OverfittingRule, {"smoothing_steps": 0}),
        (OverfittingRule, {"num_evaluations": "3"}),
        (RisingLossRule, {"rise": None}),
    ],
)
def test_a_threshold_that_is_no_finite_number_is_refused(rule, values):
    expected = r"^`\w+` must be (a number|a whole number|above 0|at least [-\de.]+)( and finite)?; received"
    with pytest.raises(ValueError, match=expected):
        rule(**values)
    with pytest.raises(ValueError, match="`levels` must be finite; received nan"):
        LevelRule("a", "train/loss", [(math.nan, "info")], "", "")


def test_a_vocabulary_of_one_token_has_no_loss_of_guessing():
    engine = AlertEngine(default_rules(), vocab_size=1)
    assert engine.observe({"event": "log", "step": 500, "train/loss": 9.0}) == []
