"""Rules of one line: what they mean, and that they can do nothing else."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from highnoon.monitoring import AlertEngine, parse_rule


def steps_of(form, lines) -> list[int]:
    engine = AlertEngine([form], vocab_size=100)
    return [
        alert.step
        for step, line in enumerate(lines, start=1)
        for alert in engine.observe(
            {"event": "log" if "train" in str(line) else "evaluation", "step": step, **line}
        )
    ]


def norms(*values):
    return [{"train/grad_norm": value} for value in values]


@pytest.mark.parametrize(
    ("form", "steps"),
    [
        ("train/grad_norm > 50", [2]),
        ("train/grad_norm > 50 for 3", [4]),
        ("train/grad_norm > 50 for 4", []),
        ("grad_norm >= 60 and step > 2", [3]),
        ("train/grad_norm / 2 > 25", [2]),
        ("train/grad_norm/2>25", [2]),
        ("1 < train/grad_norm < 2", [1, 5]),
        ("not train/grad_norm > 50", [1, 5]),
        ("-train/grad_norm + 1 > 0.5 - 1", [5]),
        ("max(train/grad_norm, 55) > 57", [2]),
        ("abs(train/grad_norm - 60) < 1 or log(vocab_size) < 4", [2]),
        ("1 / (train/grad_norm - 60) > 0", []),
    ],
)
def test_a_condition_means_what_it_says(form, steps):
    assert steps_of(form, norms(1.5, 60.0, 60.0, 60.0, 1.25)) == steps


def test_a_condition_on_two_lines_takes_the_latest_of_each():
    lines = [{"train/loss": 2.0}, {"val/loss": 2.5}, {"train/loss": 1.0}, {"train/grad_norm": 1.0}]
    assert steps_of("val/loss > train/loss + 1", lines) == [3]


def test_lines_without_the_metric_do_not_count_as_points():
    lines = [*norms(60), {"train/loss": 1.0}, *norms(60), {"train/loss": 1.0}, *norms(1, 60)]
    assert steps_of("train/grad_norm > 50 for 2", lines) == [3]
    assert steps_of("train/grad_norm > 50 for 3", lines) == []


def test_a_resumed_rule_continues_counting_and_knows_the_other_metric():
    first, second = (AlertEngine(["val/loss > train/loss for 2"]) for _ in range(2))
    first.observe({"event": "evaluation", "step": 4, "val/loss": 2.0})
    first.observe({"event": "log", "step": 5, "train/loss": 1.0})
    second.load_state_dict(first.state_dict())
    assert second.observe({"event": "log", "step": 6, "train/loss": 1.0})


def test_what_is_not_finite_can_be_asked_for():
    assert steps_of("not isfinite(train/grad_norm)", norms(1.0, math.nan, 1.0, math.inf)) == [2, 4]


def test_a_mapping_says_more_than_a_line():
    rule = parse_rule(
        {
            "when": "train/loss > 4",
            "for": 2,
            "action": "cut_rate",
            "severity": "critical",
            "name": "mine",
            "advice": "look",
        }
    )
    in_line = parse_rule("train/loss > 4 for 2 -> cut_rate")
    assert (rule.name, rule.severity, rule.advice) == ("mine", "critical", "look")
    assert (rule.num_points, rule.action) == (in_line.num_points, in_line.action) == (2, "cut_rate")


def test_metrics_of_a_model_of_one_s_own_can_be_named():
    with pytest.raises(ValueError, match="no metric `mine/shape`"):
        parse_rule("mine/shape > 1")
    assert parse_rule("mine/shape > 1", metrics=("mine/shape",)).metrics == ["mine/shape"]


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("train/grad_nrm > 5", "did you mean `train/grad_norm`"),
        ("lss > 5", "did you mean `.*loss`"),
        ("train/loss > 5 -> stopp", "did you mean `stop`"),
        ("train/loss > 5 ->", "no action"),
        ("train/loss > 5 for few", "integer number of points"),
        ("train/loss > 5 for 0", "at least 1"),
        ("train/loss >", "cannot be parsed"),
        ("train/loss + 1", "not a condition"),
        ("1 > 0", "names no metric"),
        ("mx(train/loss, 1) > 0", "did you mean `max`"),
        ("", "needs `when`"),
        ({"if": "train/loss > 5"}, "no key of a rule `if`"),
        ({"when": "train/loss > 5", "severity": "fatal"}, "no severity `fatal`"),
        (5, "a line or a mapping"),
    ],
)
def test_a_mistake_is_named_with_what_would_be_right(form, message):
    with pytest.raises(ValueError, match=message):
        parse_rule(form)


@pytest.mark.parametrize(
    "form",
    [
        "__import__('os').system('true') > train/loss",
        "train/loss.real > 1",
        "train/loss > [1][0]",
        "train/loss > 9 ** 9 ** 9",
        "train/loss > '5'",
        "(lambda: 1)() > train/loss",
        "train/loss in (1, 2)",
        "(train/loss if train/loss else 1) > 2",
        "train/loss > (x := 1)",
        "max(*train/loss) > 1",
        "abs(x=train/loss) > 1",
        "train/loss > True",
    ],
)
def test_nothing_but_arithmetic_gets_in(form):
    with pytest.raises(ValueError):
        parse_rule(form)


@pytest.mark.parametrize(
    "line",
    [
        "-" * 900 + "step > 1",
        "not " * 120 + "step > 1",
        "1+" * 150 + "step > 1",
        "(" * 300 + "step" + ")" * 300 + " > 1",
        "a" * 100_000 + " > 1",
        "step > 1" + " " * 20_000 + "x",
        "step > " + "9" * 5_000,
        "step > 1 for " + "9" * 5_000,
        "step > \ud800",
        "step >\0 1",
    ],
)
def test_a_line_that_is_long_deep_or_no_text_is_refused_at_once(line):
    begun_at = time.monotonic()
    with pytest.raises(ValueError, match="rule") as failure:
        parse_rule(line)
    assert time.monotonic() - begun_at < 1
    str(failure.value).encode()
    assert "\n" not in str(failure.value)


_PIECES = st.sampled_from(
    [
        "train/loss",
        "grad_norm",
        "step",
        "vocab_size",
        " > ",
        "<",
        "==",
        " and ",
        " or ",
        "not ",
        "+",
        "-",
        " / ",
        "*",
        "**",
        "(",
        ")",
        "abs(",
        "min(",
        "log(",
        "isfinite(",
        ",",
        "1",
        "0",
        "9" * 30,
        "1e999",
        "0x",
        "for ",
        " for 3",
        "->",
        "-> stop",
        "[",
        "]",
        "lambda: ",
        "'",
        '"',
        "#",
        "\\",
        "\n",
        "\0",
        "\ud800",
        "é",
        ".",
        ":=",
        "if ",
        "else ",
        "await ",
    ]
)


@settings(max_examples=500, deadline=None, database=None, derandomize=True)
@given(st.lists(st.one_of(_PIECES, _PIECES, st.text(max_size=2)), max_size=15).map("".join))
def test_any_line_is_a_rule_that_can_be_judged_or_an_error_of_one_line(line):
    try:
        engine = AlertEngine([line], vocab_size=100)
    except ValueError as error:
        assert "\n" not in str(error) and len(str(error)) < 2000
    else:
        list(engine.observe({"event": "log", "step": 1, "train/loss": 2.0, "train/grad_norm": 0.0}))


@pytest.mark.parametrize(
    ("when", "key", "value"),
    [("train/loss > 4 for 3", "for", 5), ("train/loss > 4 -> stop", "action", "log")],
)
def test_what_a_rule_says_in_its_line_is_not_said_again_next_to_it(when, key, value):
    with pytest.raises(ValueError, match=f"`{key}` in its line and as a key"):
        parse_rule({"when": when, key: value})


def test_an_empty_name_of_a_rule_is_refused():
    with pytest.raises(ValueError, match="`name of a rule` must be a text; received ''"):
        parse_rule({"when": "train/loss > 4", "name": ""})
