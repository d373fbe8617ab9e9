"""Answers that need no model: one constant answer, and the answer of the nearest training example."""

from __future__ import annotations

import collections
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from highnoon.evaluation.tasks.text_completion import words_of

if TYPE_CHECKING:
    from highnoon.data.tasks.task_example import TaskExample


def constant_answer(training: Sequence[TaskExample]) -> str:
    """Returns the most frequent answer of the training examples; of equally frequent ones the first.

    Args:
        training: Examples that a model may learn from.

    Raises:
        ValueError: There are none.
    """
    if not training:
        raise ValueError("expected at least 1 training example; received none")
    return collections.Counter(example.answer for example in training).most_common(1)[0][0]


def nearest_answers(training: Sequence[TaskExample], examples: Sequence[TaskExample]) -> list[str]:
    """Returns for each example the answer of the training example whose prompt is most similar.

    The similarity is the cosine of word sets, weighted by `idf = ln(1 + N / n)`, for N prompts of which n
    have the word; of equally similar ones the first counts. The prompt is the user's words, or the text
    before a completion.

    Args:
        training: Examples that a model may learn from.
        examples: Whose answers are asked for.

    Raises:
        ValueError: There are no training examples.

    Example:

    ```python
    from highnoon.data.tasks.task_example import TaskExample
    from highnoon.evaluation.tasks.baselines import nearest_answers

    def example(words, answer):
        return TaskExample("t", words, [{"role": "user", "content": words}], answer)

    training = [example("List all files.", "ls"), example("Count the lines.", "wc -l")]
    assert nearest_answers(training, [example("Count lines of a file.", "")]) == ["wc -l"]
    ```
    """
    if not training:
        raise ValueError("expected at least 1 training example; received none")
    word_sets = [set(words_of(prompt_words(example))) for example in training]
    having = collections.defaultdict[str, list[int]](list)
    for index, words in enumerate(word_sets):
        for word in words:
            having[word].append(index)
    weight = {word: math.log(1 + len(training) / len(indices)) ** 2 for word, indices in having.items()}
    norms = [math.sqrt(sum(weight[word] for word in sorted(words))) or 1.0 for words in word_sets]
    return [training[_nearest(example, having, weight, norms)].answer for example in examples]


def prompt_words(example: TaskExample) -> str:
    """Returns the words of the user's turns, or the text before a completion."""
    asked = [str(turn["content"]) for turn in example.messages if turn["role"] == "user"]
    return "\n".join(asked) if asked else example.prompt


def _nearest(
    example: TaskExample,
    having: dict[str, list[int]],
    weight: dict[str, float],
    norms: Sequence[float],
) -> int:
    shared = collections.defaultdict[int, float](float)
    for word in sorted(set(words_of(prompt_words(example)))):
        for index in having.get(word, ()):
            shared[index] += weight[word]
    return max(shared, key=lambda index: (shared[index] / norms[index], -index), default=0)
