"""Figures of a model's answers to held-out prompts of tasks, at the evaluations of a run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from highnoon.config import ConfigError, require_count, require_flag, require_texts
from highnoon.data.document import DataError, SourceNotFoundError
from highnoon.data.tasks import Task, open_task, task_names
from highnoon.evaluation.tasks.generate_answers import generate_answers
from highnoon.evaluation.tasks.measure_task import TaskSample, sample_task
from highnoon.evaluation.tasks.score_answers import Score, overall_score, score_answers
from highnoon.evaluation.tasks.task_metrics import names_of_tasks, task_metrics
from highnoon.training.evaluators import Evaluator, Figure, register_evaluator


@register_evaluator("tasks")
class TaskEvaluator(Evaluator):
    """Scores greedy answers to a fixed sample of held-out prompts of each task.

    Figures are `<task>/<metric>` with the number of cases, `<task>/too_long`, the fraction of prompts that
    leave no room for their answer in the model's window and are no cases, and `overall`, see `overall_score`.
    Where the reference answers do not reach 1, `<task>/<metric>_ceiling` is what they reach.
    In a run they are `val/<task>/<metric>`. Of records that a generator made, the task's name is
    `synthetic_<task>`. The syntax of commands is that of tree-sitter. Nothing is drawn at random.

    Args:
        tasks: Names of tasks; None takes those that have data.
        data_dir: A folder of local copies, see `open_task`.
        synthetic: Whether to use records of the tasks' generators.
        limit: Prompts of each task.
        max_new_tokens: The limit of an answer; None takes a quarter more than the longest reference answer.
        batch_size: Prompts in a batch.
        validation_split: The fraction that the run holds out; None takes the run's, or 0.1 where the model
            does not know it.

    Raises:
        ConfigError: A task has no metrics, or a number is out of its range.
        ImportError: The metrics of a task need a package that is not installed.
        SourceNotFoundError: A task that is named has no data.

    Example:

    ```yaml
    evaluators:
      - name: tasks
        tasks: [function_call, bash_command]
        limit: 32
    ```
    """

    def __init__(
        self,
        tasks: Sequence[str] | None = None,
        data_dir: str | os.PathLike[str] | None = None,
        synthetic: bool = False,
        limit: int = 32,
        max_new_tokens: int | None = None,
        batch_size: int = 8,
        validation_split: float | None = None,
    ) -> None:
        self.tasks = None if tasks is None else list(require_texts("tasks", tasks))
        for name in names_of_tasks() if self.tasks is None else self.tasks:
            task_metrics(name).require_packages()
        self.data_dir = None if data_dir is None else os.fspath(data_dir)
        self.synthetic = require_flag("synthetic", synthetic)
        self.limit = require_count("limit", limit)
        if max_new_tokens is not None:
            require_count("max_new_tokens", max_new_tokens)
        self.max_new_tokens = max_new_tokens
        self.batch_size = require_count("batch_size", batch_size)
        if validation_split is not None and not 0 < validation_split < 1:
            raise ConfigError(f"`validation_split` must be in (0, 1); received {validation_split}")
        self.validation_split = validation_split
        # What is missing is an error before the run, not at its first evaluation.
        self._tasks = None if tasks is None else open_tasks(self.tasks, self.data_dir, self.synthetic)[0]
        self._samples: list[TaskSample] | None = None

    def evaluate(
        self, model: keras.Model, sample: Mapping[str, np.ndarray], step: int
    ) -> Mapping[str, Figure]:
        figures: dict[str, Figure] = {}
        main: list[Score] = []
        for task in self.samples(model):
            answers = generate_answers(model, task.examples, self.max_new_tokens, self.batch_size)
            score, cases = task.scorer(), answers.examples
            scores = score_answers(score, cases, answers.texts)
            ceiling = score_answers(score, cases, [example.answer for example in cases])
            for name, found in scores.items():
                figures[f"{task.label}/{name}"] = Figure(found.value, found.count)
                if name in ceiling and ceiling[name].value < 1.0:
                    figures[f"{task.label}/{name}_ceiling"] = Figure(ceiling[name].value, ceiling[name].count)
            total = len(task.examples)
            figures[f"{task.label}/too_long"] = Figure(answers.num_too_long / total, total)
            main.append(scores.get(task_metrics(task.name).main, Score(0.0, 0)))
        overall = overall_score(main)
        return figures | {"overall": Figure(overall.value, overall.count)}

    def samples(self, model: Any) -> list[TaskSample]:
        """Returns the sample of each task, read once.

        Raises:
            DataError: No task has data, or it cannot be read.
        """
        if self._samples is None:
            training = getattr(model, "training_config", None)
            held_out = getattr(training, "validation_split", 0.0) or 0.1
            tasks = self._tasks or open_tasks(None, self.data_dir, self.synthetic)[0]
            split = self.validation_split or held_out
            self._samples = [sample_task(task, self.limit, split) for task in tasks]
        return self._samples

    def get_config(self) -> dict[str, Any]:
        return {
            "tasks": self.tasks,
            "data_dir": self.data_dir,
            "synthetic": self.synthetic,
            "limit": self.limit,
            "max_new_tokens": self.max_new_tokens,
            "batch_size": self.batch_size,
            "validation_split": self.validation_split,
        }


def open_tasks(
    names: Sequence[str] | None, data_dir: str | None = None, synthetic: bool = False
) -> tuple[list[Task], dict[str, str]]:
    """Returns tasks with their data open, and for each task that was left out the reason.

    Args:
        names: Of tasks; None takes all that are registered with metrics and leaves out those without data.
        data_dir: A folder of local copies.
        synthetic: Whether to use records of the tasks' generators.

    Raises:
        ConfigError: A task has no metrics.
        SourceNotFoundError: A task that was named has no data.
        DataError: No task has data.
    """
    tasks, missing = [], {}
    known = set(task_names())
    for name in [name for name in names_of_tasks() if name in known] if names is None else names:
        task_metrics(name)
        try:
            tasks.append(open_task(name, data_dir, synthetic))
        except SourceNotFoundError as error:
            if names is not None:
                raise
            missing[name] = str(error)
    if not tasks:
        raise DataError(next(iter(missing.values()), "`tasks` must name at least 1 task; received none"))
    return tasks, missing
