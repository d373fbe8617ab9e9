"""Alerts in a run: who hears of them, what they do, that a resumed run gives the same."""

from __future__ import annotations

import json
import logging

import keras
import pytest

import highnoon as hn
from highnoon.callbacks import Alerts, CallbackGroup, MetricsFile
from highnoon.callbacks.progress_bar import ProgressBar
from highnoon.monitoring import AlertEngine, read_metrics
from highnoon.training.optimizers import AdamW


class Model(keras.Model):
    """As much of a model as a run's callbacks see."""

    vocab_size = 100


def make_group(*callbacks, optimizer=None):
    model = Model()
    model.stop_training = False
    group = CallbackGroup(callbacks)
    group.set_model(model, {})
    model.optimizer = optimizer
    return group, model


def log(group, step, **metrics):
    group.event(
        "log", stage="a", step=step, metrics={f"train/{name}": value for name, value in metrics.items()}
    )


@pytest.mark.parametrize("is_event", [True, False])
def test_the_terminal_shows_an_alert_once_and_a_log_file_has_it(tmp_path, capsys, is_event):
    kept = logging.FileHandler(tmp_path / "kept.log")
    handlers = [logging.StreamHandler(), kept]
    logger = logging.getLogger("highnoon.alerts")
    for handler in handlers:
        logger.addHandler(handler)
    try:
        group, _ = make_group(ProgressBar(), Alerts([f"train/loss > 8 -> {'event' if is_event else 'log'}"]))
        group.event("train_begin", step=0, total_steps=100, num_parameters=1)
        group.event("stage_begin", stage="a", step=0, alerts_off=["high_loss"])
        log(group, 50, loss=9.0, tokens_per_second=1.0)
        group.close()
        logger.warning("after the run")
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
        kept.close()
    printed = "".join(capsys.readouterr())
    assert printed.count("this is a rule of your own") == 1 and "after the run" in printed
    assert (tmp_path / "kept.log").read_text().count("step 50, train/loss > 8") == 1
    assert not any(handler.filters for handler in handlers)


def test_an_alert_is_heard_by_functions_and_kept_by_the_metrics_file_after_its_log_point(tmp_path):
    heard = []
    writer = MetricsFile(tmp_path / "metrics.jsonl")
    group, _ = make_group(Alerts(), heard.append, writer)
    group.event("train_begin", step=0, total_steps=100, num_parameters=1)
    log(group, 50, loss=9.0)
    assert [event["event"] for event in heard] == ["train_begin", "log", "alert"]
    alert = heard[-1]
    assert (alert["rule"], alert["severity"], alert["step"], alert["stage"]) == (
        "high_loss",
        "critical",
        50,
        "a",
    )
    assert set(alert) == {
        "event",
        "stage",
        "rule",
        "severity",
        "step",
        "value",
        "message",
        "advice",
        "action",
    }
    assert [(line["event"], line["step"]) for line in read_metrics(writer.path)] == [
        ("log", 50),
        ("alert", 50),
    ]


def test_rules_that_make_no_sense_for_a_stages_objective_are_off_in_it():
    heard = []
    group, _ = make_group(Alerts(), heard.append)
    group.event("train_begin", step=0, total_steps=100, num_parameters=1)
    for step, off in ((40, ["high_loss"]), (60, [])):
        group.event("stage_begin", stage="a", step=step, alerts_off=off)
        log(group, step, loss=1.0)
        log(group, step + 10, loss=9.0)
    alerts = [(event["rule"], event["step"]) for event in heard if event["event"] == "alert"]
    assert [step for rule, step in alerts if rule == "high_loss"] == [70]


def test_steps_after_going_back_are_judged_again():
    heard = []
    group, _ = make_group(Alerts(["train/loss > 1"]), heard.append)
    log(group, 5, loss=2.0)
    log(group, 6, loss=0.5)
    group.event("fault_answered", answer="go_back", reason="", step=4, learning_rate_factor=1.0)
    log(group, 5, loss=2.0)
    assert [event["step"] for event in heard if event["event"] == "alert"] == [5, 5]


def test_evaluations_are_judged_too():
    heard = []
    group, _ = make_group(Alerts(), heard.append)
    group.event("evaluation", stage="a", step=5, metrics={"val/loss": float("nan")})
    assert heard[-1]["rule"] == "non_finite"


def test_log_is_heard_by_nobody_but_the_log(caplog):
    heard = []
    group, model = make_group(Alerts(["train/loss > 1 -> log"]), heard.append)
    with caplog.at_level(logging.INFO, "highnoon.alerts"):
        log(group, 5, loss=2.0)
    assert [event["event"] for event in heard] == ["log"]
    assert "step 5, train/loss > 1: " in caplog.text
    assert not model.stop_training


def test_stop_ends_the_run():
    group, model = make_group(Alerts(["train/loss > 1 for 2 -> stop"]))
    log(group, 5, loss=2.0)
    assert not model.stop_training
    log(group, 6, loss=2.0)
    assert model.stop_training


def test_cut_rate_halves_the_factor_once_an_episode():
    optimizer = AdamW()
    group, _ = make_group(Alerts(["train/loss > 1 -> cut_rate"]), optimizer=optimizer)
    group.event("train_begin", step=0, total_steps=9, num_parameters=1)
    factors = []
    for step, loss in enumerate([2.0, 2.0, 0.5, 2.0], start=1):
        log(group, step, loss=loss)
        factors.append(float(optimizer.learning_rate_factor))
    assert factors == [0.5, 0.5, 0.5, 0.25]


def test_cutting_the_rate_of_an_optimizer_that_cannot_is_refused_before_the_first_step():
    group, _ = make_group(Alerts(actions={"high_loss": "cut_rate"}), optimizer=keras.optimizers.SGD())
    with pytest.raises(Exception) as caught:
        group.event("train_begin", step=0, total_steps=9, num_parameters=1)
    assert "`high_loss` cuts the learning rate, but SGD has no" in str(caught.value.__cause__)


def test_actions_of_rules_can_be_changed_and_rules_left_out():
    heard = []
    group, model = make_group(
        Alerts(actions={"high_loss": None, "non_finite": "stop"}, vocab_size=10), heard.append
    )
    log(group, 50, loss=9.0)
    assert [event["event"] for event in heard] == ["log"]
    log(group, 60, loss=float("nan"))
    assert heard[-1]["rule"] == "non_finite" and model.stop_training


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"actions": {"high_los": "stop"}}, "did you mean `high_loss`"),
        ({"actions": {"high_loss": "stp"}}, "did you mean `stop`"),
        ({"rules": ["train/los > 1"]}, "did you mean `train/loss`"),
    ],
)
def test_a_misspelt_name_is_refused_at_once(arguments, message):
    with pytest.raises(ValueError, match=message):
        Alerts(**arguments)


def test_a_resumed_run_gives_the_alerts_of_one_that_was_never_stopped():
    losses = [3, 9, 9, 3, 9, 9, 9, 3, 3, 9]

    def run(stops: tuple[int, ...]) -> list[tuple[str, int]]:
        heard, state = [], None
        for begin, end in zip((0, *stops), (*stops, len(losses)), strict=True):
            group, _ = make_group(Alerts(["train/loss > 5 for 2"]), heard.append)
            if state is not None:
                group.load_state(json.loads(state))
            group.event("train_begin", step=begin, total_steps=1, num_parameters=1)
            for index in range(begin, end):
                log(group, 20 + index, loss=float(losses[index]))
            state = json.dumps(group.state())
        return [(event["rule"], event["step"]) for event in heard if event["event"] == "alert"]

    whole = run(())
    assert len(whole) > 3
    for stop in range(1, len(losses)):
        assert run((stop,)) == whole


@pytest.mark.slow
def test_a_real_run_is_slowed_and_stopped_and_its_file_says_why(tmp_path):
    (tmp_path / "text.txt").write_text("A fox met seven crows and said good day to each of them.\n" * 60)
    keras.utils.set_random_seed(0)
    model = hn.create_model("highnoon-nano", block_pattern="attention+mlp")  # no experts that may be dead
    trainer = hn.Trainer(model, batch_size=2, max_seq_length=32, schedule="constant", warmup_steps=0)
    trainer.add_curriculum_stage("only", [str(tmp_path / "text.txt")], steps=20)
    trainer.add_callback(Alerts(["step >= 2 -> cut_rate", "step >= 4 -> stop"]))
    trainer.train(log_interval=1, log_dir=tmp_path / "logs", save_checkpoints=False, verbose=False)
    (path,) = (tmp_path / "logs").rglob("metrics.jsonl")
    lines = read_metrics(path)
    rates = {line["step"]: line["train/learning_rate"] for line in lines if line["event"] == "log"}
    assert list(rates) == [1, 2, 3, 4]
    assert rates[3] == pytest.approx(rates[2] / 2)
    assert [(line["rule"], line["step"]) for line in lines if line["event"] == "alert"] == [
        ("step >= 2", 2),
        ("step >= 4", 4),
    ]
    assert AlertEngine().observe(lines[0]) == []
    assert json.loads(path.read_text().splitlines()[0])["vocab_size"] == trainer.model.vocab_size
