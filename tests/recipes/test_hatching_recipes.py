"""The recipes in the keys of the hatching guide: each is read, and the smallest runs without data."""

from __future__ import annotations

import json
import pathlib

import pytest

import highnoon as hn
from highnoon.cli.__main__ import main
from highnoon.compat import MultiTaskConfig
from highnoon.models.parts import PARTS
from highnoon.models.patterns import bind_pattern
from highnoon.training.recipes import Recipe, check_sweep
from highnoon.training.recipes.check_recipe import check_recipe
from highnoon.training.recipes.hatching.curriculum_section import TASKS
from highnoon.training.recipes.hatching.guide_keys import BIO, LIF, STDP

FOLDER = pathlib.Path(__file__).parents[2] / "recipes" / "hatching"
TINY = ["model.n_layer=1", "model.n_embd=16", "model.n_head=2", "model.mlp_multiplier=2", "steps=2"]
TINY += ["training.batch_size=2", "training.max_seq_len=64", "jit_compile=false", "eval_interval=2"]
pytestmark = pytest.mark.filterwarnings("ignore:.*no effect", "ignore:.*means bytes")


@pytest.mark.parametrize("name", ["nano", "small", "medium", "large", "custom"])
def test_a_recipe_is_accepted(name):
    recipe = Recipe.load(FOLDER / f"{name}.yaml")
    check_recipe(recipe)
    assert recipe.has_task_mix and bind_pattern(recipe.config().model)
    if name != "custom":
        model = recipe.config().model
        preset = hn.get_preset_config(f"hatching-{name}").model
        assert model == preset


def test_the_shipped_sweep_varies_keys_of_its_recipe(monkeypatch):
    monkeypatch.chdir(FOLDER.parents[1])
    assert "training.learning_rate" in check_sweep(FOLDER / "sweep.yaml")


def test_the_options_of_neurons_are_those_of_the_part():
    import inspect

    known = set(inspect.signature(PARTS["spiking_bdh"].__init__).parameters)
    named = {key.name for keys in (LIF, BIO, STDP) for key in keys.values()}
    assert named <= known


def test_the_custom_recipe_is_the_default_of_the_trainer():
    assert MultiTaskConfig().to_recipe().config() == Recipe.load(FOLDER / "custom.yaml").config()


@pytest.mark.slow
def test_the_smallest_recipe_trains_without_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HIGHNOON_DATA", raising=False)
    evaluators = [{"name": "tasks", "synthetic": True, "limit": 2, "max_new_tokens": 4}]
    tasks = {task: f"synthetic:{task}:60" for task in TASKS}
    words = [*TINY, "output=run", f"tasks={json.dumps(tasks)}", f"evaluators={json.dumps(evaluators)}"]
    assert main(["train", str(FOLDER / "nano.yaml"), *words]) == 0
    log = pathlib.Path("run/logs").rglob("metrics.jsonl")
    assert "synthetic_bash_command" in next(iter(log)).read_text()
    assert hn.load_model("run/hatching_final.pt").generate("User: ", max_length=9)


@pytest.mark.slow
def test_spike_timing_trains_under_the_default_compilation(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HIGHNOON_DATA", raising=False)
    tasks = {task: f"synthetic:{task}:60" for task in TASKS}
    tiny = [word for word in TINY if not word.startswith("jit_compile")]
    words = [*tiny, "stdp.enabled=true", "output=run", "evaluators=[]", f"tasks={json.dumps(tasks)}"]
    assert Recipe.load(FOLDER / "custom.yaml", words).jit_compile is None
    assert main(["train", str(FOLDER / "custom.yaml"), *words]) == 0
    lines = next(pathlib.Path("run/logs").rglob("metrics.jsonl")).read_text().splitlines()
    steps = [json.loads(line) for line in lines]
    assert steps[-1]["event"] == "train_end" and steps[-1]["step"] == 8
    pattern = hn.load_model("run/hatching_final.pt").config.block_pattern
    assert "stdp=true" in pattern


@pytest.mark.slow
def test_a_recipe_without_data_names_the_generator(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HIGHNOON_DATA", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(["train", str(FOLDER / "custom.yaml"), *TINY, "output=run"]) == 1
    assert "highnoon data synthesize text_completion" in capsys.readouterr().err
