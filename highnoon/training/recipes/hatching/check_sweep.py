"""Checks a sweep file in the form of Weights & Biases against the recipe that it varies."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from highnoon.config import ConfigError, read_yaml, require_choice, require_number, resolve_keys, shown
from highnoon.training.recipes.hatching.guide_keys import as_number

_METHODS = ("grid", "random", "bayes")
_GOALS = ("minimize", "maximize")
_KEYS = {
    "program",
    "command",
    "method",
    "metric",
    "parameters",
    "name",
    "description",
    "project",
    "entity",
    "early_terminate",
    "run_cap",
}
_RANGES = {
    "uniform": ("min", "max"),
    "q_uniform": ("min", "max"),
    "int_uniform": ("min", "max"),
    "log_uniform_values": ("min", "max"),
    "q_log_uniform_values": ("min", "max"),
    "normal": ("mu", "sigma"),
}
"""Distributions, and the two numbers that each needs."""
_SPACE = {"value", "values", "probabilities", "distribution", "min", "max", "mu", "sigma", "q"}
_RECIPES = (".yaml", ".yml", ".json")


def check_sweep(
    path: str | os.PathLike[str], recipe: str | os.PathLike[str] | None = None
) -> dict[str, list[Any]]:
    """Checks a sweep file: its form, and that each parameter is a key of the recipe in its range.

    Args:
        path: The sweep file, in the form of Weights & Biases.
        recipe: The recipe that the sweep varies; None takes the one that `command` names, relative to the
            current folder.

    Returns:
        The values of each parameter that were checked: all that it lists, or the ends of its range.

    Raises:
        ConfigError: the file is no sweep, or a parameter is no key of the recipe or out of its range.

    Example:

    ```python
    import pathlib
    from highnoon.training.recipes import check_sweep

    pathlib.Path("run.yaml").write_text("stages: [{name: docs, datasets: 'stdlib:docs', steps: 5}]")
    pathlib.Path("sweep.yaml").write_text(
        "method: grid\\nparameters: {training.learning_rate: {values: [1e-3, 3e-3]}}\\n"
    )
    assert check_sweep("sweep.yaml", "run.yaml") == {"training.learning_rate": [1e-3, 3e-3]}
    ```
    """
    from highnoon.training.recipes.recipe import Recipe

    try:
        sweep = resolve_keys(read_yaml(pathlib.Path(path)), _KEYS, "the sweep")
        require_choice("method", sweep.get("method"), _METHODS)
        _check_metric(sweep)
        base = _recipe_of(sweep) if recipe is None else recipe
        parameters = sweep.get("parameters")
        if not isinstance(parameters, Mapping) or not parameters:
            raise ConfigError(
                f"`parameters` must be a mapping of keys of a recipe; received {shown(parameters)}"
            )
        checked = {}
        for name, space in parameters.items():
            checked[name] = _candidates(name, space, sweep["method"])
            for value in checked[name]:
                Recipe.load(base, {name: value}).config()
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return checked


def _check_metric(sweep: Mapping[str, Any]) -> None:
    metric = sweep.get("metric")
    if metric is None and sweep["method"] != "bayes":
        return
    if not isinstance(metric, Mapping) or not isinstance(metric.get("name"), str):
        raise ConfigError(f"`metric` must be a mapping of `name` and `goal`; received {shown(metric)}")
    require_choice("metric.goal", metric.get("goal", _GOALS[0]), _GOALS)


def _recipe_of(sweep: Mapping[str, Any]) -> str:
    """Returns the recipe that the command of a sweep trains."""
    command = sweep.get("command")
    for word in command if isinstance(command, (list, tuple)) else ():
        if isinstance(word, str) and pathlib.PurePath(word).suffix in _RECIPES:
            return word
    raise ConfigError(
        f"`command` must name the recipe that the sweep varies, as in [highnoon, train, run.yaml, "
        f"'${{args_no_hyphens}}']; received {shown(command)}"
    )


def _candidates(name: Any, space: Any, method: str) -> list[Any]:
    """Returns the values of a parameter that stand for all of them."""
    if not isinstance(name, str) or not isinstance(space, Mapping):
        raise ConfigError(
            f"parameter {shown(name)} must be a mapping with `value`, `values`, or `min` and `max`; "
            f"received {shown(space)}"
        )
    given = resolve_keys(space, _SPACE, f"parameter `{name}`")
    if "value" in given:
        return [as_number(given["value"])]
    if "values" in given:
        if not isinstance(given["values"], (list, tuple)) or not given["values"]:
            raise ConfigError(
                f"`values` of parameter `{name}` must be a list; received {shown(given['values'])}"
            )
        return [as_number(value) for value in given["values"]]
    kind = require_choice(
        f"distribution` of parameter `{name}", given.get("distribution", "uniform"), tuple(_RANGES)
    )
    if method == "grid":
        raise ConfigError(f"parameter `{name}` needs `values`, since the method is grid")
    bounds = []
    for key in _RANGES[kind]:
        value = as_number(given.get(key))
        require_number(f"{key}` of parameter `{name}", value)
        bounds.append(value)
    if kind == "normal":
        return [bounds[0]]
    if not bounds[0] < bounds[1]:
        raise ConfigError(
            f"`min` of parameter `{name}` must be below `max`; received {bounds[0]} and {bounds[1]}"
        )
    return bounds
