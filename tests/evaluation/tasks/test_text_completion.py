"""The figures of plain text."""

from __future__ import annotations

import time

import pytest

from highnoon.data.tasks.task_example import TaskExample
from highnoon.evaluation.tasks.text_completion import distinct, repetition, score_text_completion, words_of

EXAMPLE = TaskExample("text_completion", "0", [], "")


def test_words_are_runs_of_letters_numbers_and_single_characters():
    assert words_of("It's 3.5, isn't_it?") == ["it's", "3", ".", "5", ",", "isn't", "_", "it", "?"]


def test_repetition_counts_sequences_that_occurred_before():
    assert repetition("a b c d e f g".split()) == 0.0
    assert repetition(["a"] * 13) == pytest.approx(0.9)
    assert distinct(["a", "b", "a"], 1) == pytest.approx(2 / 3) and distinct(["a"], 2) == 1.0


def test_coherence_falls_with_unknown_words_and_with_repetition():
    known = {"the", "sun", "stands", "high"}
    assert score_text_completion(EXAMPLE, "the sun stands high", known)["coherence"] == 1.0
    assert score_text_completion(EXAMPLE, "the sun stzands hgih", known)["coherence"] == 0.5
    assert score_text_completion(EXAMPLE, "the sun stands high " * 20, known)["coherence"] < 0.1
    assert score_text_completion(EXAMPLE, "  ", known)["coherence"] == 0.0


@pytest.mark.parametrize("text", ["a " * 10**6, "a'" * 10**6, "_" * 10**6, "\u0300" * 10**5])
def test_hostile_texts_take_less_than_a_second(text):
    began = time.process_time()
    score_text_completion(EXAMPLE, text)
    assert time.process_time() - began < 1.0
