"""Verdicts on plain text: repetition, distinct words, and coherence."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from highnoon.data.tasks.task_example import TaskExample

MAX_WORDS = 10_000
"""Of a longer text, only the first words are read."""

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*|\d+|[^\w\s]|_+")


def score_text_completion(
    example: TaskExample, text: str, vocabulary: Collection[str] = ()
) -> dict[str, float]:
    """Returns the figures of a text, each in [0, 1].

    - `rep_4`: the fraction of its sequences of four words that occur earlier in it, see `repetition`.
    - `distinct_1`, `distinct_2`: the fraction of its words, and of its pairs of words, that are different.
    - `known_words`: the fraction of its words that are in the vocabulary.
    - `coherence`: `known_words * (1 - rep_4)`. It falls with words that do not exist and with repetition. It
      does not measure meaning: compare it with the figure of the reference texts.

    A text without words gets `rep_4` 1 and 0 for the others. Word means a run of letters, a number, or one
    other character.

    Args:
        example: Not read; the figures are of the text alone.
        text: The answer.
        vocabulary: Words in lower case that count as known, such as those of the training examples.

    Example:

    ```python
    from highnoon.data.tasks.task_example import TaskExample
    from highnoon.evaluation.tasks.text_completion import score_text_completion

    example = TaskExample("text_completion", "0", [], "the sun stands high")
    known = {"the", "sun", "stands", "high"}
    assert score_text_completion(example, "The sun stands hihg", known)["coherence"] == 0.75
    ```
    """
    words = words_of(text)
    if not words:
        return {"rep_4": 1.0, "distinct_1": 0.0, "distinct_2": 0.0, "known_words": 0.0, "coherence": 0.0}
    known = sum(word in vocabulary for word in words) / len(words)
    rep_4 = repetition(words)
    return {
        "rep_4": rep_4,
        "distinct_1": distinct(words, 1),
        "distinct_2": distinct(words, 2),
        "known_words": known,
        "coherence": known * (1.0 - rep_4),
    }


def words_of(text: str) -> list[str]:
    """Returns the words of a text in lower case, at most `MAX_WORDS`."""
    found = []
    for match in _WORD.finditer(text):
        found.append(match.group().casefold())
        if len(found) == MAX_WORDS:
            break
    return found


def repetition(words: Sequence[str], length: int = 4) -> float:
    """Returns `1 - different sequences / sequences` of words of a length; 0 for fewer words.

    Welleck et al. 2020, Neural Text Generation with Unlikelihood Training, https://arxiv.org/abs/1908.04319,
    section 6 (`seq-rep-4`).

    Args:
        words: Of a text.
        length: Words in a sequence.

    Example:

    ```python
    from highnoon.evaluation.tasks.text_completion import repetition

    assert repetition(list("abcdabcd")) == 1 - 4 / 5
    ```
    """
    return 1.0 - distinct(words, length)


def distinct(words: Sequence[str], length: int) -> float:
    """Returns different sequences / sequences of words of a length; 1 for fewer words.

    Li et al. 2016, A Diversity-Promoting Objective Function for Neural Conversation Models,
    https://arxiv.org/abs/1510.03055 (`distinct-n`).
    """
    grams = [tuple(words[start : start + length]) for start in range(len(words) - length + 1)]
    return len(set(grams)) / len(grams) if grams else 1.0
