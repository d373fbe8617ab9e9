"""A sweep file is checked against the recipe that it varies."""

from __future__ import annotations

import json

import pytest

from highnoon.config import ConfigError
from highnoon.training.recipes import check_sweep

RECIPE = {
    "preset": "highnoon-nano",
    "training": {"learning_rate": 1e-3},
    "stages": [{"name": "a", "datasets": "stdlib:docs", "steps": 5}],
}
RATE = {"distribution": "log_uniform_values", "min": 1e-4, "max": "1e-2"}
SWEEP = {
    "program": "highnoon",
    "command": ["highnoon", "train", "run.yaml", "${args_no_hyphens}"],
    "method": "random",
    "metric": {"name": "val/loss", "goal": "minimize"},
    "parameters": {"training.learning_rate": RATE, "model.dropout": {"values": [0.0, 0.1]}},
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text(json.dumps(RECIPE))
    return tmp_path


def check(**changes):
    with open("sweep.yaml", "w") as file:
        json.dump({**SWEEP, **changes}, file)
    return check_sweep("sweep.yaml")


def test_the_values_of_each_parameter_are_tried_in_the_recipe():
    assert check() == {"training.learning_rate": [1e-4, 1e-2], "model.dropout": [0.0, 0.1]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "guess"}, "`method` must be one of grid, random, bayes"),
        ({"parameters": {}}, "`parameters` must be a mapping of keys of a recipe"),
        ({"parameters": {"training.learning_rat": RATE}}, "did you mean `learning_rate`"),
        (
            {"parameters": {"training.learning_rate": {"values": [1e-3, -1]}}},
            "rate` must be above 0",
        ),
        (
            {"parameters": {"training.learning_rate": {"min": 2, "max": 1}}},
            "must be below `max`",
        ),
        ({"parameters": {"model.dropout": {"vals": [1]}}}, "did you mean `values`"),
        ({"parameters": {"model.dropout": 0.1}}, "must be a mapping with `value`, `values`"),
        ({"method": "grid"}, "needs `values`, since the method is grid"),
        ({"method": "bayes", "metric": None}, "`metric` must be a mapping"),
        ({"metric": {"name": "val/loss", "goal": "lower"}}, "`metric.goal` must be one of"),
        ({"command": ["highnoon"]}, "`command` must name the recipe"),
        ({"paramters": {}}, "did you mean `parameters`"),
    ],
)
def test_a_mistake_in_a_sweep_is_named(changes, message):
    with pytest.raises(ConfigError, match=message) as found:
        check(**changes)
    assert "\n" not in str(found.value) and str(found.value).startswith("sweep.yaml: ")
