"""Measures a model on the held-out prompts of a task, next to baselines and the ceiling."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from highnoon.evaluation.tasks.baselines import constant_answer, nearest_answers
from highnoon.evaluation.tasks.bash_command import score_bash_command
from highnoon.evaluation.tasks.generate_answers import generate_answers
from highnoon.evaluation.tasks.score_answers import Score, are_half_distinct, score_answers
from highnoon.evaluation.tasks.shell_syntax import has_bash, is_valid_for_bash, is_valid_syntax
from highnoon.evaluation.tasks.task_metrics import task_metrics
from highnoon.evaluation.tasks.text_completion import score_text_completion, words_of

if TYPE_CHECKING:
    from highnoon.data.tasks import Task, TaskExample
    from highnoon.evaluation.tasks.run_commands import CommandSandbox

Scorer = Callable[["TaskExample", str], Mapping[str, float]]

DEFAULT_LIMIT = 64
MOST_TRAINING_EXAMPLES = 2_000
"""Training examples that the baselines copy from, and whose words are known."""


@dataclasses.dataclass(frozen=True)
class TaskSample:
    """A fixed sample of a task's examples.

    Args:
        name: Of the task.
        label: The name in reports; it begins with `synthetic_` if a generator made the examples.
        examples: Held out from training.
        training: From the other side of the split.
    """

    name: str
    label: str
    examples: list[TaskExample]
    training: list[TaskExample]

    @property
    def is_synthetic(self) -> bool:
        """Whether a generator made the examples."""
        return self.label != self.name

    def scorer(self, uses_bash: bool = False, sandbox: CommandSandbox | None = None) -> Scorer:
        """Returns the function that scores an answer.

        Args:
            sandbox: Executes shell commands; None executes nothing.
            uses_bash: Whether `bash -n` decides on the syntax of commands where there is `bash`. It takes
                milliseconds a command; tree-sitter agrees with it on 99.9 percent of real commands.
        """
        score = task_metrics(self.name).score
        if score is score_bash_command:
            is_valid = is_valid_for_bash if uses_bash and has_bash() else is_valid_syntax
            return functools.partial(score_bash_command, is_valid=is_valid, sandbox=sandbox)
        if score is score_text_completion:
            known = {word for example in self.training for word in words_of(example.prompt + example.answer)}
            return functools.partial(score_text_completion, vocabulary=known)
        return score


@dataclasses.dataclass(frozen=True)
class TaskResult:
    """The figures of a model on a task.

    Args:
        sample: The examples.
        num_too_long: Prompts that leave no room for their answer in the model's window; they are no cases.
        num_unfinished: Answers that reached their limit.
        scores: Of the model, by metric.
        ceiling: Of the reference answers to the same prompts.
        constant: Of one answer to all prompts, see `constant_answer`.
        copy: Of the answer of the nearest training example, see `nearest_answers`.
        answers: Of the model.
    """

    sample: TaskSample
    num_too_long: int
    num_unfinished: int
    scores: dict[str, Score]
    ceiling: dict[str, Score]
    constant: dict[str, Score]
    copy: dict[str, Score]
    answers: list[str]

    @property
    def main(self) -> str:
        """The metric that `overall` is a mean of."""
        return task_metrics(self.sample.name).main

    @property
    def main_score(self) -> Score:
        """The score of the main metric; without a case its count is 0."""
        return self.scores.get(self.main, Score(0.0, 0))

    def to_json(self) -> dict[str, Any]:
        """Returns the figures as JSON values."""
        metrics = {
            name: {
                "value": score.value,
                "low": score.interval[0],
                "high": score.interval[1],
                "cases": score.count,
                **{
                    key: scores[name].value
                    for key, scores in (
                        ("ceiling", self.ceiling),
                        ("constant_answer", self.constant),
                        ("copied_answer", self.copy),
                    )
                    if name in scores
                },
            }
            for name, score in self.scores.items()
        }
        return {
            "task": self.sample.name,
            "label": self.sample.label,
            "is_synthetic": self.sample.is_synthetic,
            "main": self.main,
            "num_prompts": len(self.sample.examples),
            "num_too_long": self.num_too_long,
            "num_unfinished": self.num_unfinished,
            "at_least_half_distinct": are_half_distinct(self.scores),
            "metrics": metrics,
        }


def sample_task(task: Task, limit: int = DEFAULT_LIMIT, validation_split: float = 0.1) -> TaskSample:
    """Returns the sample of a task that evaluations use: always the same for the same data.

    Args:
        task: See `open_task`.
        limit: Held-out examples at most: those with the smallest hashes, in the order of the data.
        validation_split: The fraction that training holds out.

    Raises:
        DataError: No example is held out.
    """
    return TaskSample(
        task.name,
        task.label,
        _fixed_sample(task.examples("validation", validation_split), limit),
        _fixed_sample(task.examples("train", validation_split), MOST_TRAINING_EXAMPLES),
    )


def measure_task(
    model: Any,
    sample: TaskSample,
    max_new_tokens: int | None = None,
    batch_size: int = 8,
    tokenizer: Any = None,
    uses_bash: bool = False,
    sandbox: CommandSandbox | None = None,
) -> TaskResult:
    """Returns the figures of a model's greedy answers, of the reference answers and of the baselines.

    Args:
        model: A language model.
        sample: See `sample_task`.
        max_new_tokens: The limit of an answer; None takes a quarter more than the longest reference answer.
        batch_size: Prompts in a batch.
        tokenizer: None uses the model's.
        uses_bash: See `TaskSample.scorer`.
        sandbox: Executes shell commands; None executes nothing.

    Raises:
        ConfigError: The model has no tokenizer.
        ImportError: A package of the extra `tasks` is not installed.
    """
    task_metrics(sample.name).require_packages()
    score = sample.scorer(uses_bash, sandbox)
    answers = generate_answers(model, sample.examples, max_new_tokens, batch_size, tokenizer)
    cases = answers.examples
    scores = functools.partial(score_answers, score, cases)
    return TaskResult(
        sample,
        answers.num_too_long,
        answers.num_unfinished,
        scores(answers.texts),
        scores([example.answer for example in cases]),
        scores([constant_answer(sample.training)] * len(cases)),
        scores(nearest_answers(sample.training, cases)),
        answers.texts,
    )


def _fixed_sample(examples: Iterable[TaskExample], limit: int) -> list[TaskExample]:
    """The examples with the smallest hashes of their ids, in the order of the data."""
    kept = heapq.nsmallest(limit, enumerate(examples), key=lambda pair: _hash(pair[1]))
    return [example for _, example in sorted(kept, key=_first)]


def _first(pair: Sequence[Any]) -> int:
    return pair[0]


def _hash(example: TaskExample) -> str:
    return hashlib.blake2b(f"{example.task}/{example.id}".encode(), digest_size=8).hexdigest()
