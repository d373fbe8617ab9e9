"""Recipes in the guide's keys are recognized, and those of this package are never taken for one."""

from __future__ import annotations

import pathlib
import re

import pytest
import yaml

from highnoon.training.recipes import Recipe
from highnoon.training.recipes.hatching.is_guide import is_guide

ROOT = pathlib.Path(__file__).parents[4]
STAGES = [{"iters": 2, "weights": {"bash_command": 1.0}}]
GUIDE = {"model": {"n_layer": 2, "n_embd": 32, "n_head": 2}, "curriculum": {"stages": STAGES}}
DATA = {"bash_command": "synthetic:bash_command:60"}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"preset": "hatching-nano"},
        {"tasks": "synthetic"},
        {"training": {"batch_size": 2, "max_seq_len": 64, "warmup_iters": 1}},
        {"training": {"max_iters": 2}, "tasks": DATA},
        {"model": {"mlp_multiplier": 4}, "tasks": DATA},
        {"curriculum": {"enabled": False, "task_weights": {"bash_command": 1.0}}, "tasks": DATA},
        {"training": {"max_iters": 2}, "curriculum": {"enabled": True}},
    ],
)
def test_a_recipe_without_sections_of_its_own_is_recognized_by_its_keys(changes):
    recipe = Recipe.from_dict({**GUIDE, **changes})
    assert recipe.preset == changes.get("preset", "hatching-medium")
    assert recipe.model["vocab_size"] == 263 and recipe.training["learning_rate"] == 1e-3


@pytest.mark.parametrize(
    "changes",
    [
        {"preset": "highnoon-nano"},
        {"tasks": DATA},
        {
            "tasks": {"code": "stdlib:code"},
            "curriculum": {"stages": [{"iters": 2, "weights": {"code": 1.0}}]},
        },
        {"model": {"n_layer": 2, "n_embd": 32, "block_pattern": "transformer"}},
        {"model": {"n_layer": 2, "n_embd": 32, "num_heads": 2}},
        {"model": {"n_layers": 2, "d_model": 32}},
        {"model": {"dropout": 0.1}},
        {"training": {"max_seq_length": 64}},
        {"training": {"warmup_steps": 1}},
        {"log_interval": 5},
        {"stages": [{"name": "docs", "datasets": "stdlib:docs", "steps": 2}]},
        {"curriculum": {"stages": [{"max_steps": 2, "weights": {"bash_command": 1.0}}]}},
        {"curriculum": {"stages": [2]}},
        {"curriculum": 2},
        {"model": 3, "training": [1]},
    ],
)
def test_a_recipe_of_this_package_is_not_the_guides(changes):
    assert not is_guide({**GUIDE, **changes})


def test_the_recipes_of_the_documentation_are_told_apart():
    texts = [path.read_text() for path in (ROOT / "recipes").glob("*.yaml")]
    for page in (ROOT / "docs").rglob("*.md"):
        if page.name != "hatching.md":
            texts += re.findall(r"^```yaml\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    recipes = [recipe for recipe in map(yaml.safe_load, texts) if isinstance(recipe, dict)]
    assert len(recipes) > 5 and not any(is_guide(recipe) for recipe in recipes)
    for path in (ROOT / "recipes" / "hatching").glob("*.yaml"):
        recipe = yaml.safe_load(path.read_text())
        recipe.pop("monitor", None)
        assert path.stem == "sweep" or is_guide(recipe), path


def test_what_a_run_of_the_guide_saves_is_a_recipe_of_this_package(tmp_path):
    recipe = Recipe.from_dict(GUIDE)
    recipe.save(tmp_path / "recipe.yaml")
    assert not is_guide(yaml.safe_load((tmp_path / "recipe.yaml").read_text()))
    assert Recipe.load(tmp_path).to_dict() == recipe.to_dict()


def test_an_override_does_not_change_which_keys_a_recipe_is_in(tmp_path):
    path = tmp_path / "guide.yaml"
    path.write_text(yaml.safe_dump(GUIDE))
    for override in ("training.max_seq_length=64", "model.num_heads=4", "log_interval=5"):
        assert Recipe.load(path, [override]).preset == "hatching-medium"
    path.write_text(yaml.safe_dump({**GUIDE, "preset": "highnoon-nano"}))
    assert Recipe.load(path, ["model.n_layer=3"]).preset == "highnoon-nano"
