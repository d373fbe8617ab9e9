"""Complexity scores of samples."""

from __future__ import annotations

import json
import math
import os
import pathlib

import numpy as np
import pytest

from highnoon.training.curricula import complexity
from highnoon.training.curricula.complexity import complexity_scores, difficulty_factors, unit_ranks

PLAIN = "The king went to the river. The people went to the city. The king saw the people."
RARE = "The vizier rode to the estuary. The artisans fled to the citadel. The despot saw the throng."
NESTED = "The king (who, they said, went to the river [the old one]), the people, the city: all saw the king"
CORPUS = [PLAIN] * 8 + [PLAIN + " " + PLAIN, RARE, NESTED]


class CountedTexts:
    """A lazy sequence that counts how often each text is read."""

    def __init__(self, texts: list[str]):
        self.texts, self.reads = texts, [0] * len(texts)

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> str:
        text = self.texts[index]
        self.reads[index] += 1
        return text


class Document:
    def __init__(self, text: str):
        self.text = text


def test_size_is_the_number_of_characters_or_of_ids() -> None:
    assert complexity_scores(["ab", "", "abcde"]).tolist() == [2, 0, 5]
    assert complexity_scores([[7, 8], np.arange(5), ()]).tolist() == [2, 5, 0]


def test_a_longer_text_moves_the_length_factor_alone_in_its_words() -> None:
    factors = difficulty_factors(CORPUS)
    assert factors["length"][8] > factors["length"][0]
    assert factors["length"][0] == pytest.approx(math.log(1 + len(PLAIN)))
    for name in ("vocabulary", "domain"):
        assert factors[name][8] == pytest.approx(factors[name][0])


def test_rare_words_move_the_vocabulary_factor() -> None:
    vocabulary = difficulty_factors(CORPUS)["vocabulary"]
    assert np.argmax(vocabulary) == 9


def test_long_sentences_marks_and_brackets_move_the_syntax_factor() -> None:
    base, long, marked, bracketed, nested = difficulty_factors(
        [
            "One two three. Four five six.",
            "One two three four five six.",
            "One two, three. Four five six.",
            "One (two) three. Four five six.",
            "One ((two)) three. Four five six.",
        ]
    )["syntax"]
    assert base == pytest.approx(math.log(3))
    assert long == pytest.approx(math.log(6))
    assert marked == pytest.approx(math.log(3) + 1 / 6)
    assert bracketed == pytest.approx(math.log(3) + 2 / 6 + math.log(2))
    assert nested == pytest.approx(math.log(3) + 4 / 6 + math.log(3))


def test_a_text_without_a_final_stop_is_one_sentence_more() -> None:
    stopped, open_end = difficulty_factors(["One two. Three four.", "One two. Three four"])["syntax"]
    assert stopped == open_end == pytest.approx(math.log(2))


def test_words_of_one_sample_alone_move_the_domain_factor_even_when_common() -> None:
    repeated = "quark " * 200
    factors = difficulty_factors([PLAIN] * 30 + [RARE, repeated])
    assert factors["domain"][31] == 1.0
    assert factors["domain"][0] < 0.1
    assert factors["vocabulary"][31] < factors["vocabulary"][30]


def test_vocabulary_and_domain_equal_a_naive_count() -> None:
    words = [[w.strip(".(),:[]").lower() for w in text.split()] for text in CORPUS]
    total = sum(map(len, words))
    counts = {w: sum(row.count(w) for row in words) for row in words for w in row}
    spread = {w: sum(w in row for row in words) for w in counts}
    covered, core = 0, set()
    for word in sorted(counts, key=lambda w: (-spread[w], -counts[w])):
        if covered < 0.8 * sum(spread.values()):
            core.add(word)
        covered += spread[word]
    factors = difficulty_factors(CORPUS)
    for index, row in enumerate(words):
        rarity = sum(-math.log(counts[w] / total) for w in row) / len(row)
        outside = sum(w not in core for w in row) / len(row)
        assert factors["vocabulary"][index] == pytest.approx(rarity)
        assert factors["domain"][index] == pytest.approx(outside)


def test_difficulty_is_the_documented_mean_of_ranks() -> None:
    factors = difficulty_factors(CORPUS)
    expected = (
        0.3 * unit_ranks(factors["length"])
        + 0.2 * unit_ranks(factors["vocabulary"])
        + 0.2 * unit_ranks(factors["syntax"])
        + 0.3 * unit_ranks(factors["domain"])
    )
    np.testing.assert_allclose(complexity_scores(CORPUS, "difficulty_based"), expected)
    sizes = unit_ranks(np.array([len(text) for text in CORPUS], float))
    np.testing.assert_allclose(complexity_scores(CORPUS, "mixed"), (sizes + unit_ranks(expected)) / 2)


def test_equal_values_share_their_mean_rank() -> None:
    assert unit_ranks(np.array([3.0, 1.0, 3.0, 9.0, 3.0])).tolist() == [0.5, 0.0, 0.5, 1.0, 0.5]
    assert unit_ranks(np.array([4.0])).tolist() == [0.5]


def test_every_form_of_a_text_scores_the_same() -> None:
    texts = complexity_scores(CORPUS, "mixed")
    np.testing.assert_array_equal(texts, complexity_scores([{"text": t} for t in CORPUS], "mixed"))
    np.testing.assert_array_equal(texts, complexity_scores([Document(t) for t in CORPUS], "mixed"))


def test_token_ids_are_scored_as_words() -> None:
    factors = difficulty_factors([[1, 2, 1, 2], [1, 2, 2, 1], [9, 9, 8, 7]])
    assert np.argmax(factors["domain"]) == 2
    assert np.argmax(factors["vocabulary"]) == 2
    assert factors["syntax"].tolist() == [0, 0, 0]


@pytest.mark.parametrize("strategy", complexity.TEXT_STRATEGIES)
def test_a_lazy_sequence_is_read_once(strategy: str) -> None:
    texts = CountedTexts(CORPUS)
    np.testing.assert_array_equal(complexity_scores(texts, strategy), complexity_scores(CORPUS, strategy))
    assert set(texts.reads) == {1}


def test_scores_do_not_depend_on_how_much_is_held_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    held = difficulty_factors([*CORPUS, "", RARE])
    monkeypatch.setattr(complexity, "_WORDS_IN_MEMORY", 20)
    spilt = difficulty_factors([*CORPUS, "", RARE])
    for name in held:
        np.testing.assert_array_equal(held[name], spilt[name])


def test_an_empty_sample_measures_zero_and_changes_no_other() -> None:
    alone = difficulty_factors([PLAIN, RARE])
    among = difficulty_factors(["", PLAIN, "", "", RARE, ""])
    for name in alone:
        np.testing.assert_array_equal(among[name][[1, 4]], alone[name])
        assert among[name][[0, 2, 3, 5]].tolist() == [0, 0, 0, 0]


def test_empty_and_wordless_samples_have_finite_scores() -> None:
    for strategy in complexity.TEXT_STRATEGIES:
        assert np.isfinite(complexity_scores(["", "?!", PLAIN], strategy)).all()
        assert complexity_scores([], strategy).shape == (0,)


def test_a_loss_needs_a_model_to_take_it() -> None:
    with pytest.raises(ValueError, match="reference_model"):
        complexity_scores(["a"], "reference_loss")


@pytest.mark.parametrize("strategy, message", [("weight_based", "molecules"), ("sized", "must be one of")])
def test_an_unknown_strategy_is_refused(strategy: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        complexity_scores(["a"], strategy)


@pytest.mark.parametrize(
    "samples, message",
    [
        (["a", 5], "sample 1 must be a text"),
        (["a", {"body": "b"}], "sample 1 must be a text"),
        (["a", [1, 2]], "sample 1 is token ids"),
        ([[0.5]], "sample 0 must be a text"),
        ("one text", "received one str"),
    ],
)
def test_a_sample_that_is_neither_text_nor_ids_is_named(samples: object, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        complexity_scores(samples)


def test_an_encyclopedia_is_harder_than_a_childrens_book() -> None:
    root = os.environ.get("HIGHNOON_DATA")
    if not root:
        pytest.skip("set HIGHNOON_DATA to a folder that holds domains/children and domains/general")
    texts = {}
    for domain in ("children", "general"):
        (path,) = sorted((pathlib.Path(root) / "domains" / domain).glob("*.jsonl"))
        rows = [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()[:60]]
        texts[domain] = [row[:600] for row in rows]
    scores = complexity_scores(texts["children"] + texts["general"], "difficulty_based")
    assert scores[60:].mean() > scores[:60].mean() + 0.1
