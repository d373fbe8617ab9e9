"""The curriculum of tasks of a recipe: the data of each task, and the guide's four stages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from highnoon.config import ConfigError, require_choice, require_flag, shown
from highnoon.files.nearest_name import suggestion
from highnoon.training.recipes.hatching.guide_keys import MAX_ITERS, as_number

TASKS = ("text_completion", "function_call", "bash_command", "tool_use", "chain_of_thought")
OPTIONAL = ("tool_use",)
"""Tasks that the guide trains on "if available"."""
DATA = {"local": "task:", "synthetic": "synthetic:"}
"""What `tasks` may say in place of a mapping, and what comes before the name of each task then."""
STAGES: tuple[Mapping[str, Any], ...] = (
    {"iters": 2000, "weights": {"text_completion": 0.7, "chain_of_thought": 0.3}},
    {"iters": 3000, "weights": {"text_completion": 0.3, "function_call": 0.4, "chain_of_thought": 0.3}},
    {
        "iters": 3000,
        "weights": {
            "text_completion": 0.2,
            "function_call": 0.3,
            "bash_command": 0.3,
            "chain_of_thought": 0.2,
        },
    },
    {
        "iters": 2000,
        "weights": {
            "text_completion": 0.15,
            "function_call": 0.2,
            "bash_command": 0.2,
            "tool_use": 0.25,
            "chain_of_thought": 0.2,
        },
    },
)
TASK_WEIGHTS: Mapping[str, float] = {
    "text_completion": 0.20,
    "function_call": 0.25,
    "bash_command": 0.20,
    "tool_use": 0.20,
    "chain_of_thought": 0.15,
}
"""The mix of a run without a curriculum, as in the code that the guide describes."""


def with_task_sources(recipe: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns a recipe whose `tasks` name the data of every task that its curriculum weighs.

    A task without an entry is read from its local copy, `task:NAME`. `tasks: synthetic` generates all of
    them, and `tasks: local` reads all of them. A recipe that has no curriculum, or names the data itself, is
    returned as it is.

    Raises:
        ConfigError: a task that is neither in `tasks` nor one of those that the package has.
    """
    curriculum, tasks = recipe.get("curriculum"), recipe.get("tasks")
    if isinstance(tasks, str):
        require_choice("tasks", tasks, tuple(DATA))
        if not curriculum:
            raise ConfigError(f"`tasks: {tasks}` is the data of a `curriculum`, which is not given; give it")
    elif tasks is not None and not isinstance(tasks, Mapping):
        return recipe
    if not isinstance(curriculum, Mapping) or not isinstance(curriculum.get("stages"), (list, tuple)):
        return recipe
    named: dict[str, Any] = {} if isinstance(tasks, (str, type(None))) else dict(tasks)
    start = DATA[tasks] if isinstance(tasks, str) else DATA["local"]
    used = _weighed_tasks(curriculum["stages"], {*TASKS, *named})
    missing = {task: f"{start}{task}" for task in TASKS if task in used and task not in named}
    if not missing:
        return recipe
    filled: dict[str, Any] = {**recipe, "tasks": {**named, **missing}}
    if "optional" not in curriculum:
        optional = [task for task in OPTIONAL if missing.get(task) == f"{DATA['local']}{task}"]
        filled["curriculum"] = {**curriculum, "optional": optional} if optional else curriculum
    return filled


def _weighed_tasks(stages: Any, known: set[str]) -> set[str]:
    used: set[str] = set()
    for number, stage in enumerate(stages, start=1):
        weights = stage.get("weights") if isinstance(stage, Mapping) else None
        for task in weights if isinstance(weights, Mapping) else ():
            if task not in known:
                named = sorted(known, key=lambda name: (name not in TASKS, name))
                raise ConfigError(
                    f"stage {number} of `curriculum` weighs the task {shown(task)}, which has no data; "
                    f"{suggestion(task, named, 'tasks')}"
                )
            used.add(task)
    return used


def curriculum_section(recipe: Mapping[str, Any], max_iters: int | None) -> dict[str, Any]:
    """Returns `curriculum` and, for a run of one stage, `steps` of a recipe in the guide's keys.

    Args:
        recipe: In the guide's keys.
        max_iters: Of `training`.

    Raises:
        ConfigError: `max_iters` next to several stages of another kind, or a curriculum that is no mapping.
    """
    curriculum = recipe.get("curriculum")
    if curriculum is None:
        return _length_of_stages(recipe, max_iters)
    if not isinstance(curriculum, Mapping):
        raise ConfigError(f"`curriculum` must be a mapping; received {shown(curriculum)}")
    curriculum = dict(curriculum)
    weights = curriculum.pop("task_weights", None)
    if require_flag("curriculum.enabled", curriculum.pop("enabled", True)):
        curriculum["stages"] = curriculum.get("stages") or [dict(stage) for stage in STAGES]
    elif recipe.get("stages"):
        return _length_of_stages(recipe, max_iters)
    else:
        mix = dict(TASK_WEIGHTS if weights is None else weights)
        curriculum["stages"] = [{"name": "all tasks", "iters": max_iters or MAX_ITERS, "weights": mix}]
    if isinstance(curriculum["stages"], (list, tuple)):
        curriculum["stages"] = [_with_numbers(stage) for stage in curriculum["stages"]]
    if max_iters is not None:
        if curriculum.get("max_iters", max_iters) != max_iters:
            raise ConfigError(
                f"`training.max_iters` is {max_iters:,} and `curriculum.max_iters` is "
                f"{shown(curriculum['max_iters'])}; give one of them"
            )
        curriculum["max_iters"] = max_iters
    return {"curriculum": curriculum}


def _length_of_stages(recipe: Mapping[str, Any], max_iters: int | None) -> dict[str, Any]:
    """Returns the length of a run without a curriculum."""
    if max_iters is None or recipe.get("steps") is not None:
        return {}
    stages = recipe.get("stages") or ()
    if len(stages) > 1:
        raise ConfigError(
            "`training.max_iters` is the length of a run of one stage or of a `curriculum`, and `stages` "
            f"has {len(stages)}; give each its `steps`, and leave `max_iters` out"
        )
    return {"steps": max_iters}


def _with_numbers(stage: Any) -> Any:
    """Returns a stage whose numbers are no texts."""
    if not isinstance(stage, Mapping):
        return stage
    stage = dict(stage)
    if isinstance(stage.get("weights"), Mapping):
        stage["weights"] = {task: as_number(weight) for task, weight in stage["weights"].items()}
    for key in ("iters", "max_steps"):
        if key in stage:
            stage[key] = as_number(stage[key])
    return stage
