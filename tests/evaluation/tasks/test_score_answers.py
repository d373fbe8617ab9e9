"""Means of verdicts, their intervals, `overall`, and the baselines."""

from __future__ import annotations

import pytest

from highnoon.config import ConfigError
from highnoon.data.tasks.task_example import TaskExample
from highnoon.evaluation.tasks import TaskMetrics, register_task_metrics, task_metrics
from highnoon.evaluation.tasks.baselines import constant_answer, nearest_answers
from highnoon.evaluation.tasks.score_answers import Score, are_half_distinct, overall_score, score_answers
from highnoon.evaluation.tasks.wilson import wilson_interval


def example(words: str, answer: str) -> TaskExample:
    return TaskExample("t", words, [{"role": "user", "content": words}], answer, answer)


def test_the_interval_is_that_of_the_published_formula():
    # Newcombe 1998, Statistics in Medicine 17, table I, method 3.
    for successes, count, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
    ):
        assert wilson_interval(successes / count, count) == pytest.approx((low, high), abs=5e-5)
    assert wilson_interval(1.0, 29) == pytest.approx((0.8830, 1.0), abs=5e-5)
    assert wilson_interval(0.0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="mean"):
        wilson_interval(1.2, 3)


def test_a_metric_is_a_mean_over_the_cases_to_which_it_applies():
    def score(example, text):
        return {"right": float(text == example.expected)} | ({"long": 1.0} if len(text) > 1 else {})

    examples = [example("a", "a"), example("b", "b"), example("c", "ccc"), example("d", "d")]
    found = score_answers(score, examples, ["a", "a", "ccc", "a"])
    assert found == {"right": Score(0.5, 4), "long": Score(1.0, 1), "distinct_answers": Score(0.5, 4)}
    assert are_half_distinct(found) and not are_half_distinct(score_answers(score, examples, ["a"] * 4))
    assert score_answers(score, [], []) == {}
    with pytest.raises(ValueError):
        score_answers(score, examples, ["a"])


def test_overall_is_the_mean_of_the_tasks():
    found = overall_score([Score(1.0, 10), Score(0.5, 40), Score(0.0, 0)])
    assert found.value == 0.75 and found.count == pytest.approx(4 / (1 / 10 + 1 / 40))
    assert overall_score([Score(0.2, 5), Score(0.4, 5)]).count == pytest.approx(10)
    assert overall_score([]) == Score(0.0, 0)


def test_baselines_answer_from_the_training_examples():
    training = [
        example("List all files of a folder", "ls"),
        example("Count the lines of a file", "wc -l"),
        example("Show the files", "ls"),
    ]
    assert constant_answer(training) == "ls"
    assert nearest_answers(training, [example("count lines", ""), example("zzz", "")]) == ["wc -l", "ls"]
    text = TaskExample("text_completion", "0", [], "stands high", prompt="The sun")
    assert nearest_answers([text, *training], [TaskExample("t", "1", [], "", prompt="A sun")]) == [
        "stands high"
    ]
    for baseline in (constant_answer, lambda none: nearest_answers(none, training)):
        with pytest.raises(ValueError, match="training example"):
            baseline([])


def test_metrics_of_other_tasks_can_be_registered():
    mine = TaskMetrics(lambda example, text: {}, "accuracy")
    register_task_metrics("metrics_of_mine", mine)
    assert task_metrics("metrics_of_mine") is mine
    with pytest.raises(ConfigError, match="metrics already"):
        register_task_metrics("bash_command", mine)
    with pytest.raises(ConfigError, match="bash_command"):
        task_metrics("bash_comand")
