"""Figures of many answers: means of verdicts, each with its number of cases and an interval."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from highnoon.evaluation.tasks.wilson import wilson_interval

if TYPE_CHECKING:
    from highnoon.data.tasks.task_example import TaskExample

DISTINCT_ANSWERS = "distinct_answers"


@dataclasses.dataclass(frozen=True)
class Score:
    """A mean of verdicts.

    Args:
        value: The mean, in [0, 1].
        count: Cases to which the metric applied.
    """

    value: float
    count: float

    @property
    def interval(self) -> tuple[float, float]:
        """The Wilson interval of 95 percent."""
        return wilson_interval(self.value, self.count)


def score_answers(
    score: Callable[[TaskExample, str], Mapping[str, float]],
    examples: Sequence[TaskExample],
    answers: Sequence[str],
) -> dict[str, Score]:
    """Returns the mean of each verdict over the cases to which it applies, and `distinct_answers`.

    `distinct_answers` is different answers / answers. Below 0.5 a model gives few answers to all prompts.

    Args:
        score: Returns the verdicts on an answer by the names of the metrics.
        examples: Of one task.
        answers: One for each example.

    Raises:
        ValueError: There are not as many answers as examples.
    """
    sums, counts = collections.defaultdict[str, float](float), collections.Counter[str]()
    for example, answer in zip(examples, answers, strict=True):
        for name, verdict in score(example, answer).items():
            sums[name] += verdict
            counts[name] += 1
    scores = {name: Score(sums[name] / counts[name], counts[name]) for name in sums}
    if answers:
        scores[DISTINCT_ANSWERS] = Score(len(set(answers)) / len(answers), len(answers))
    return scores


def are_half_distinct(scores: Mapping[str, Score]) -> bool:
    """Returns whether at least half of the answers are different."""
    found = scores.get(DISTINCT_ANSWERS)
    return found is not None and found.value >= 0.5


def overall_score(main_scores: Sequence[Score]) -> Score:
    """Returns `overall`: the unweighted mean of the main metric of each task.

    ```
    overall = (m_1 + ... + m_K) / K,   count = K^2 / (1/n_1 + ... + 1/n_K)
    ```

    The count is the number of cases of one sample whose mean has the variance of this one, for tasks of equal
    scores; it is that of all cases if the tasks have equally many. Tasks without a case are left out.

    Args:
        main_scores: Of the main metric of each task, see `TaskMetrics`.
    """
    found = [score for score in main_scores if score.count]
    if not found:
        return Score(0.0, 0)
    mean = sum(score.value for score in found) / len(found)
    return Score(mean, len(found) ** 2 / sum(1.0 / score.count for score in found))
