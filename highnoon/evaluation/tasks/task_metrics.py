"""The metrics of tasks by the names of the tasks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from highnoon.config import ConfigError
from highnoon.evaluation.tasks.bash_command import score_bash_command
from highnoon.evaluation.tasks.chain_of_thought import score_chain_of_thought
from highnoon.evaluation.tasks.function_call import score_function_call
from highnoon.evaluation.tasks.missing_extra import import_extra
from highnoon.evaluation.tasks.text_completion import score_text_completion
from highnoon.evaluation.tasks.tool_use import score_tool_use
from highnoon.files.nearest_name import unknown_name


@dataclasses.dataclass(frozen=True)
class TaskMetrics:
    """How answers to a task are scored.

    Args:
        score: A function of an example and an answer. It returns verdicts in [0, 1] by the names of the
            metrics; a metric that does not apply to the example is left out.
        main: The metric that `overall` is a mean of.
        packages: Modules of the extra `tasks` that the metrics need.
    """

    score: Callable[..., Mapping[str, float]]
    main: str
    packages: tuple[str, ...] = ()

    def require_packages(self) -> None:
        """Checks that the packages are installed.

        Raises:
            ImportError: One is not; one line.
        """
        for name in self.packages:
            import_extra(name, f"`{self.main}`")


_METRICS = {
    "text_completion": TaskMetrics(score_text_completion, "coherence"),
    "function_call": TaskMetrics(score_function_call, "ast_accuracy", ("jsonschema",)),
    "bash_command": TaskMetrics(score_bash_command, "template_accuracy", ("tree_sitter", "tree_sitter_bash")),
    "tool_use": TaskMetrics(score_tool_use, "state_accuracy", ("jsonschema",)),
    "chain_of_thought": TaskMetrics(score_chain_of_thought, "final_answer"),
}


def register_task_metrics(task: str, metrics: TaskMetrics) -> None:
    """Registers the metrics of a task of another package.

    Args:
        task: The name of the task, see `highnoon.data.tasks.register_task`.
        metrics: How its answers are scored.

    Raises:
        ConfigError: The task has other metrics already.

    Example:

    ```python
    from highnoon.evaluation.tasks import TaskMetrics, register_task_metrics, task_metrics

    def score_shout(example, text):
        return {"accuracy": float(text == example.expected)}

    register_task_metrics("loud", TaskMetrics(score_shout, main="accuracy"))
    assert task_metrics("loud").main == "accuracy"
    ```
    """
    if _METRICS.get(task, metrics) != metrics:
        raise ConfigError(f"the task `{task}` has metrics already; choose another name")
    _METRICS[task] = metrics


def task_metrics(task: Any) -> TaskMetrics:
    """Returns the metrics of a task.

    Raises:
        ConfigError: The task has none.
    """
    if task not in _METRICS:
        raise ConfigError(unknown_name("task with metrics", task, list(_METRICS)))
    return _METRICS[task]


def names_of_tasks() -> list[str]:
    """Returns the names of the tasks that have metrics."""
    return list(_METRICS)
