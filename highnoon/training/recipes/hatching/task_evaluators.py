"""The figures of generated answers that a curriculum of tasks is evaluated by."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Mapping
from typing import Any

from highnoon.training.recipes.hatching.curriculum_section import DATA, TASKS

_EXTRA = ("tree_sitter", "tree_sitter_bash", "jsonschema")
_STACKLEVEL = 6


def task_evaluators(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `evaluators` for a recipe that says none and trains on tasks, all local or all synthetic.

    Warns:
        UserWarning: the extra `tasks` is not installed, so the run has no such figures.

    Args:
        recipe: With `curriculum` and the data of its `tasks`.
    """
    tasks = recipe.get("tasks")
    if "evaluators" in recipe or not recipe.get("curriculum") or not isinstance(tasks, Mapping):
        return {}
    words = {f"{start}{task}": word for word, start in DATA.items() for task in TASKS}
    kinds = {words.get(source) if isinstance(source, str) else None for source in tasks.values()}
    if len(kinds) != 1 or None in kinds:
        return {}
    missing = [name for name in _EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        warnings.warn(
            f"evaluations have no figures of generated answers, which need `{missing[0]}`; install it with "
            "pip install 'highnoon[tasks]'",
            stacklevel=_STACKLEVEL,
        )
        return {}
    evaluator: dict[str, Any] = {"name": "tasks"}
    if kinds == {"synthetic"}:
        evaluator |= {"tasks": list(tasks), "synthetic": True}
    elif recipe.get("data_dir") is not None:
        evaluator["data_dir"] = recipe["data_dir"]
    return {"evaluators": [evaluator]}
