"""Recipes with any mistake: one line that names the file, within bounded time, or a run that can start."""

from __future__ import annotations

import copy
import math
import pathlib
import time
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from highnoon.config import ConfigError
from highnoon.training.recipes.check_recipe import check_recipe
from highnoon.training.recipes.recipe import Recipe

DATASET = {
    "name": "y",
    "skip_bad": True,
    "domains": ["d"],
    "split": "line",
    "documents": 3,
    "template": "{a}",
    "learned_fields": ["a"],
    "kind": "text",
    "max_line_bytes": 10,
    "check_ids": False,
    "stream": False,
}
SCHEDULER = {
    "adaptive": True,
    "num_stages": 3,
    "initial_fraction": 0.3,
    "unit": "step",
    "pace": "root",
    "strategy": "mixed",
    "verbose": False,
    "reference_model": None,
    "warmup_epochs": 2,
}
STAGE = {
    "name": "a",
    "datasets": ["x.txt", DATASET],
    "steps": 5,
    "weight": 1.0,
    "balance": 2.0,
    "max_repeats": 3.0,
    "optional": ["x.txt"],
    "overrides": {"learning_rate": 1e-4},
    "scheduler": SCHEDULER,
}
RULE = {"when": "train/loss > 4", "for": 2, "action": "stop", "severity": "info", "name": "n", "advice": "b"}
RUN: dict[str, Any] = {
    "preset": "highnoon-nano",
    "model": {
        "embedding_dim": 64,
        "num_heads": 2,
        "block_pattern": "attention+moe",
        "dtype": "mixed_bfloat16",
        "lora": {"rank": 2},
    },
    "training": {"learning_rate": 1e-3, "on_repeated_faults": ["go_back"], "seed": 3},
    "stages": [STAGE],
    "tasks": {"t": "x.txt"},
    "curriculum": {
        "enabled": True,
        "optional": ["t"],
        "max_iters": 5,
        "stages": [{"iters": 5, "weights": {"t": 1.0}, "name": "m", "overrides": {"batch_size": 2}}],
    },
    "tokenizer": "tok.json",
    "data_dir": ".",
    "output": "o",
    "checkpoint_dir": "c",
    "epochs_per_stage": 3,
    "checkpoint_interval": 10,
    "keep_checkpoints": 2,
    "keep_every": 5,
    "log_interval": 3,
    "eval_interval": 4,
    "alerts": {"rules": ["train/loss > 4 for 2 -> stop", RULE], "actions": {"plateau": None}},
    "wandb": {"project": "p", "name": "n", "config": {"a": 1}, "tags": ["x"], "mode": "offline"},
    "sample_prompts": ["Once"],
    "cache_dir": "cache",
    "log_dir": "l",
    "save_checkpoints": True,
    "restore_best": True,
    "verbose": False,
    "weight_mode": "loss",
    "strategy": "one_device",
    "on_callback_error": "warn",
    "jit_compile": False,
    "auto_batch": True,
    "steps_per_execution": 2,
    "allow_oversize": True,
    "resume_from": True,
    "extend": True,
    "allow_plan_change": True,
    "objective": {"name": "next_token"},
}
WRONG = [
    None,
    3,
    0,
    -1,
    10**30,
    10**400,
    1.5,
    True,
    "text",
    "",
    " ",
    [],
    [[]],
    {},
    {"a": 1},
    math.nan,
    math.inf,
    [1, [2]],
    "\x00",
    "x" * 5000,
    "\x1b[31m",
]


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [path] * bool(path) + [found for key in keys for found in paths(value[key], (*path, key))]


def changed(path: tuple[Any, ...], change: str, value: Any) -> dict[str, Any]:
    run = copy.deepcopy(RUN)
    part: Any = run
    for key in path[:-1]:
        part = part[key]
    if change == "remove":
        del part[path[-1]]
    elif change == "rename" and isinstance(part, dict):
        part["xx"] = part.pop(path[-1])
    else:
        part[path[-1]] = value
    return run


def problem_of(content: str | bytes) -> str | None:
    """Returns the error of a recipe, after checking its form and the time it took; None for a sound one."""
    file = pathlib.Path("run.yaml")
    file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    start = time.perf_counter()
    try:
        check_recipe(Recipe.load(file))
        message = None
    except ConfigError as error:
        message = str(error)
        assert "\n" not in message and len(message) < 900, message
    assert time.perf_counter() - start < 5.0
    return message


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_run_that_is_changed_is_sound():
    assert problem_of(yaml.safe_dump(RUN)) is None


@settings(
    max_examples=450,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    path=st.sampled_from(paths(RUN)),
    change=st.sampled_from(["set"] * 8 + ["remove", "rename"]),
    value=st.sampled_from(WRONG),
)
def test_a_changed_recipe_is_refused_in_one_line_or_can_run(path, change, value):
    problem_of(yaml.safe_dump(changed(path, change, value)))


@settings(
    max_examples=150,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.one_of(
        st.binary(max_size=60),
        st.text(st.sampled_from("[]{}:,-&*!?|>%@`'\"#\n \tab1.e"), max_size=40),
        st.sampled_from(sorted(RUN)).flatmap(
            lambda key: st.text("[]{}:,-&*!'\"\n 1.", max_size=12).map(lambda text: f"{key}: {text}")
        ),
    )
)
def test_any_text_is_refused_in_one_line_or_can_run(content):
    problem_of(content)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("keep_every",), 0, "`keep_every` must be at least 1; received 0"),
        (("stages", 0, "weight"), math.nan, "stage `a`: `weight` must be above 0 and finite; received nan"),
        (("stages", 0, "balance"), True, "`balance` must be 'equal' or a temperature"),
        (("stages", 0, "scheduler"), [1], "the scheduler of stage 'a' must be a mapping; received \\[1\\]"),
        (("stages", 0, "scheduler", "initial_fraction"), math.inf, "`initial_fraction` must be in"),
        (("stages", 0, "overrides"), {"name": "b"}, "`overrides` of stage 'a' has no key `name`"),
        (("stages", 0, "datasets", 1, "skip_bad"), "no", "`skip_bad` must be true or false; received 'no'"),
        (("stages", 0, "datasets", 1, "stream"), 1, "`stream` must be true or false; received 1"),
        (("training", "learning_rate"), "8", "`training`: `learning_rate` must be a number; received '8'"),
        (("training", "learning_rate"), math.inf, "`learning_rate` must be above 0 and finite; received inf"),
        (("model", "embedding_dim"), True, "`model`: `embedding_dim` must be a whole number; received True"),
        (("model", "num_reasoning_blocks"), 10**9, "`num_reasoning_blocks` must be at most 10,000"),
        (("tasks",), [1], "`tasks` must be a mapping; received \\[1\\]"),
        (("curriculum", "stages", 0, "weights"), {"t": math.nan}, "must be numbers, none below 0"),
        (("curriculum", "stages", 0, "iters"), [0, "x"], "must begin at step 0"),
        (("alerts", "rules"), "train/loss > 4", "`rules` of `alerts` must be a list"),
        (("alerts", "rules", 0), "train/loss > 1e999", "the rule `train/loss > 1e999` must not contain"),
        (("alerts", "actions"), {"plateau": 3}, "there is no action `3`"),
        (("wandb", "tags"), 0, "`wandb`: `tags` must be a text or a list of texts; received 0"),
        (("sample_prompts",), "Once", "`sample_prompts` must be a list of texts; received 'Once'"),
        (("sample_prompts", 0), "", "`sample_prompts` must be a text; received ''"),
        (("output",), None, "`output` must be a path; received None"),
        (("output",), "run.yaml", "`output` must be a folder; run.yaml is a file"),
        (("epochs_per_stage",), 0, "`epochs_per_stage` must be at least 1; received 0"),
        (("training", "epochs"), 3, "name the same number; give one of them"),
    ],
)
def test_a_wrong_value_is_named_with_its_key_and_what_was_expected(path, value, words):
    run = copy.deepcopy(RUN)
    part: Any = run
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    pathlib.Path("run.yaml").write_text(yaml.safe_dump(run))
    with pytest.raises(ConfigError, match=words):
        check_recipe(Recipe.load("run.yaml"))


def test_epochs_of_a_recipe_count_under_either_name():
    stage = "stages: [{name: a, datasets: x}]\n"
    assert int(_load(stage + "training: {epochs: 100}").config().training.epochs) == 100
    assert _load(stage + "epochs_per_stage: 10").epochs_per_stage == 10


def _load(text: str) -> Recipe:
    pathlib.Path("run.yaml").write_text(text)
    return Recipe.load("run.yaml")
