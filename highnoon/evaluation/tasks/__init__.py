"""How well a model does tasks: function calls, shell commands, worked arithmetic, tool calls and text.

- `wilson`, `score_answers`: means of verdicts with intervals, `overall`.
- `arithmetic`, `call_parsing`, `call_matching`, `call_schemas`, `shell_syntax`: what verdicts are made of.
- `function_call`, `bash_command`, `chain_of_thought`, `tool_use`, `text_completion`: the verdicts of a task.
- `task_metrics`: the metrics by the names of the tasks.
- `baselines`: answers without a model.
- `generate_answers`, `measure_task`, `task_evaluator`: a model's answers and their figures.
- `run_commands`: execution of commands in a sandbox.
"""

from highnoon.evaluation.tasks.measure_task import TaskResult, TaskSample, measure_task, sample_task
from highnoon.evaluation.tasks.score_answers import Score, overall_score, score_answers
from highnoon.evaluation.tasks.task_evaluator import TaskEvaluator
from highnoon.evaluation.tasks.task_metrics import TaskMetrics, register_task_metrics, task_metrics
from highnoon.evaluation.tasks.wilson import wilson_interval

__all__ = [
    "Score",
    "TaskEvaluator",
    "TaskMetrics",
    "TaskResult",
    "TaskSample",
    "measure_task",
    "overall_score",
    "register_task_metrics",
    "sample_task",
    "score_answers",
    "task_metrics",
    "wilson_interval",
]
