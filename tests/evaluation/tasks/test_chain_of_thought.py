"""The verdicts on worked arithmetic."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest

from highnoon.data.tasks.task_example import TaskExample
from highnoon.evaluation.tasks.arithmetic import ArithmeticRefusal, evaluate_expression, parse_number
from highnoon.evaluation.tasks.chain_of_thought import checked_steps, final_answer, score_chain_of_thought

GOLD = "48/2 = <<48/2=24>>24 in May.\n48+24 = <<48+24=72>>72 in all.\n#### 72"
EXAMPLE = TaskExample("chain_of_thought", "0", [], GOLD, "72")


def test_the_reference_answer_has_all_verdicts():
    assert set(score_chain_of_thought(EXAMPLE, GOLD).values()) == {1.0}


def test_each_verdict_can_be_wrong_alone():
    wrong_step = score_chain_of_thought(EXAMPLE, GOLD.replace("48+24=72", "48+24=70"))
    assert (wrong_step["step_accuracy"], wrong_step["final_answer"]) == (0.5, 1.0)
    assert wrong_step["multi_step_accuracy"] == 0.0
    wrong_answer = score_chain_of_thought(EXAMPLE, GOLD.replace("#### 72", "#### 7,2 "))
    assert (wrong_answer["step_accuracy"], wrong_answer["final_answer"]) == (1.0, 0.0)
    assert score_chain_of_thought(EXAMPLE, "#### 72\nDone.")["format"] == 0.0
    assert score_chain_of_thought(EXAMPLE, "72")["final_answer"] == 0.0


def test_steps_do_not_apply_where_the_reference_has_none():
    plain = TaskExample("chain_of_thought", "0", [], "It is 5.\n#### 5", "5")
    assert set(score_chain_of_thought(plain, "#### $5.00")) == {"format", "final_answer"}


def test_an_answer_without_steps_gets_none_of_them():
    assert score_chain_of_thought(EXAMPLE, "#### 72")["step_accuracy"] == 0.0


@pytest.mark.parametrize(
    ("step", "is_right"),
    [
        ("10/3=3.33", True),
        ("20/3=6.66", True),
        ("20/3=6.67", True),
        ("20/3=6.68", False),
        ("10/3=3", False),
        ("7/2=3.5", True),
        ("50%*20=10", True),
        ("$1,000-1=999", True),
        ("2x3=6", True),
        (".5*4=2", True),
        ("(1+2)*-3=-9", True),
        ("2**3=8", False),
        ("1/0=0", False),
        ("a=1", False),
        ("=1", False),
    ],
)
def test_steps_are_checked_to_the_decimals_that_they_show(step, is_right):
    assert checked_steps(f"<<{step}>>") == [is_right]


def test_the_last_answer_counts():
    assert final_answer("#### 1\nno, #### 2") == "2" and final_answer("none") is None


@pytest.mark.parametrize(
    "text", ["", "1+", "1 2", "(1", "1)", "__import__('os')", "9" * 99, "1e9", "2**9", "-" * 150 + "1"]
)
def test_other_expressions_are_refused(text):
    with pytest.raises(ArithmeticRefusal):
        evaluate_expression(text)


def test_values_are_exact():
    assert evaluate_expression("1/3*3 + .1 + .2") == Fraction(13, 10)
    assert parse_number("-1,250.50") == Fraction(-2501, 2) and parse_number("3/4") == Fraction(3, 4)


@pytest.mark.parametrize(
    "text", ["<<" * 10**6, "<<1+1=2>>" * 10**5, "####" * 10**6, "<<" + "9*" * 10**6, "<<(((" * 10**5]
)
def test_hostile_texts_take_less_than_a_second(text):
    began = time.process_time()
    score_chain_of_thought(EXAMPLE, text)
    assert time.process_time() - began < 1.0
