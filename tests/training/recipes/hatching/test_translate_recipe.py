"""A recipe in the keys of the training guide is translated, and mistakes are named as they were written."""

from __future__ import annotations

import json
import warnings

import pytest

from highnoon.config import ConfigError
from highnoon.training.recipes.hatching import translate_recipe
from highnoon.training.recipes.hatching.curriculum_section import STAGES, TASKS
from highnoon.training.recipes.recipe import Recipe

LIF = {"tau_mem": 10.0, "tau_syn": 5.0, "v_threshold": 1.0, "v_reset": 0.0}
STDP = {"tau_plus": 20.0, "tau_minus": 20.0, "A_plus": 0.01, "A_minus": 0.0105}
GUIDE = {
    "model": {"n_layer": 3, "n_embd": 64, "n_head": 2, "dropout": 0.2},
    "training": {"batch_size": 4, "max_seq_len": 128, "max_iters": 50, "warmup_iters": 5, "grad_clip": 0.5},
    "curriculum": {
        "enabled": True,
        "stages": [
            {"iters": 20, "weights": {"text_completion": 0.7, "chain_of_thought": 0.3}},
            {"iters": 30, "weights": {"bash_command": 0.75, "tool_use": 0.25}},
        ],
    },
    "monitor": {"log_freq": 1, "eval_freq": 2, "save_freq": 3, "nan_check": True},
    "output": "run",
}


def translated(**changes):
    return Recipe.from_dict({**GUIDE, **changes})


def test_every_section_reaches_the_key_of_a_recipe():
    recipe = translated(lif=LIF, bio={"sparsity_target": 0.2, "sparsity_weight": 0.01})
    assert recipe.preset == "hatching-medium"
    assert recipe.model == {
        "num_reasoning_blocks": 3,
        "embedding_dim": 64,
        "num_heads": 2,
        "dropout": 0.2,
        "vocab_size": 263,
        "max_seq_length": 128,
        "block_pattern": "spiking_bdh(tau_mem=10.0, tau_syn=5.0, v_threshold=1.0, v_reset=0.0, "
        "sparsity_target=0.2, sparsity_weight=0.01)",
    }
    assert recipe.training == {
        "batch_size": 4,
        "max_seq_length": 128,
        "learning_rate": 1e-3,
        "weight_decay": 0.1,
        "warmup_steps": 5,
        "gradient_clip": 0.5,
    }
    assert (recipe.log_interval, recipe.eval_interval, recipe.checkpoint_interval) == (1, 2, 3)
    assert recipe.curriculum["max_iters"] == 50 and recipe.curriculum["optional"] == ["tool_use"]
    assert recipe.tasks == {
        task: f"task:{task}" for task in ("text_completion", "bash_command", "tool_use", "chain_of_thought")
    }


def test_a_recipe_without_lif_is_bdh():
    assert "block_pattern" not in translated().model  # the preset's
    with pytest.warns(UserWarning, match=r"`bio:` keys \(sparsity_target\) have no effect without a `lif:`"):
        translated(bio={"sparsity_target": 0.2})


def test_the_defaults_are_those_of_the_guide():
    recipe = Recipe.from_dict({"monitor": {}, "curriculum": {"enabled": True}})
    assert recipe.training["batch_size"] == 32 and recipe.training["max_seq_length"] == 512
    assert recipe.training["learning_rate"] == 1e-3 and recipe.training["warmup_steps"] == 500
    assert recipe.curriculum["stages"] == [dict(stage) for stage in STAGES]
    assert set(recipe.tasks) == set(TASKS)
    assert all(abs(sum(stage["weights"].values()) - 1) < 1e-9 for stage in STAGES)


def test_spike_timing_acts_only_where_it_is_enabled():
    with pytest.warns(UserWarning, match="`stdp:` keys have no effect without `enabled: true`") as found:
        silent = translated(lif={}, stdp=STDP)
    assert len(found) == 1 and silent.model["block_pattern"] == "spiking_bdh"
    active = translated(lif={}, stdp={"enabled": True, **STDP})
    assert active.model["block_pattern"] == (
        "spiking_bdh(stdp=true, tau_plus=20.0, tau_minus=20.0, a_plus=0.01, a_minus=0.0105)"
    )
    with pytest.raises(ConfigError, match="`stdp.enabled` needs spiking neurons"):
        translated(stdp={"enabled": True})


def test_a_vocabulary_of_256_means_bytes():
    with pytest.warns(UserWarning, match="`vocab_size: 256` means bytes: the model has 263 ids"):
        recipe = translated(model={"vocab_size": 256})
    assert recipe.model["vocab_size"] == 263
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert translated(model={"vocab_size": 1000}).model["vocab_size"] == 1000


def test_numbers_may_be_texts_as_yaml_1_1_and_json_have_them(tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"training": {"learning_rate": "1e-3", "batch_size": "8"}, "monitor": {}}))
    assert Recipe.load(path).training["learning_rate"] == 1e-3
    assert Recipe.load(path).training["batch_size"] == 8


@pytest.mark.parametrize("dtype", ["bfloat16", "mixed_bfloat16"])
def test_weights_stay_in_float32_under_the_guides_dtype(dtype):
    assert translated(model={"n_layer": 2, "dtype": dtype}).model["dtype"] == "mixed_bfloat16"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lif": {"tau_mem": 0}}, r"`lif.tau_mem` must be above 0; received 0"),
        ({"lif": {"tau_mm": 1.0}}, r"`lif` has no key `tau_mm`; did you mean `tau_mem`"),
        ({"lif": 3}, r"`lif` must be a mapping"),
        ({"stdp": {"A_plus": -1}}, r"`stdp.A_plus` must not be negative"),
        ({"bio": {"sparsity_target": 2}}, r"`bio.sparsity_target` must be in \(0, 0.4\]"),
        ({"monitor": {"log_frq": 2}}, r"`monitor` has no key `log_frq`; did you mean `log_freq`"),
        ({"log_interval": 5}, r"`monitor` and `log_interval` name the same value"),
        ({"model": {"n_layer": 0}}, r"`model.n_layer` must be at least 1; received 0"),
        ({"model": {"n_layr": 2}}, r"`model` has no key `n_layr`; did you mean `n_layer`"),
        (
            {"model": {"n_layer": 2, "num_reasoning_blocks": 2}},
            "`n_layer` and `num_reasoning_blocks`",
        ),
        ({"model": {"block_pattern": "bdh"}, "lif": {}}, r"`lif` describes a new model, and `model.block_p"),
        ({"training": {"max_iters": "many"}}, r"`training.max_iters` must be a whole number"),
        ({"training": {"max_iter": 5}}, r"`training` has no key `max_iter`; did you mean `max_iters`"),
        ({"curriculum": 3}, r"`curriculum` must be a mapping"),
        ({"curriculum": {"stages": [{"iters": 5, "weights": {"bash_comand": 1.0}}]}}, r"mean `bash_command`"),
        ({"tasks": "fake"}, r"`tasks` must be one of local, synthetic"),
        ({"tasks": 5}, r"`tasks` must be a mapping; received 5"),
    ],
)
def test_a_mistake_is_named_as_it_was_written(changes, message):
    with pytest.raises(ConfigError, match=message) as found:
        translated(**changes)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([{"iters": 50, "weights": {"bash_command": 0.5, "tool_use": 0.6}}], "sum to 1"),
        ([{"iters": 40, "weights": {"bash_command": 1.0}}], r"last 40 steps in all, and `max_iters` is 50"),
    ],
)
def test_weights_and_lengths_of_stages_are_checked_before_the_run(stages, message):
    from highnoon.training.recipes.check_recipe import check_recipe

    recipe = translated(preset="highnoon-nano", curriculum={"stages": stages})
    with pytest.raises(ConfigError, match=message):
        check_recipe(recipe)


def test_the_data_of_tasks_is_said_in_one_word_or_one_by_one():
    synthetic = translated(tasks="synthetic")
    assert synthetic.tasks["bash_command"] == "synthetic:bash_command"
    assert "optional" not in synthetic.curriculum
    mixed = translated(tasks={"bash_command": "my-commands.jsonl"})
    assert mixed.tasks["bash_command"] == "my-commands.jsonl"
    assert mixed.tasks["text_completion"] == "task:text_completion"
    with pytest.raises(ConfigError, match="`tasks: synthetic` is the data of a `curriculum`"):
        Recipe.from_dict({"tasks": "synthetic", "stages": [{"name": "a", "datasets": "b"}]})


def test_generated_answers_are_scored_at_evaluations(tmp_path):
    assert translated().evaluators == [{"name": "tasks"}]
    assert translated(data_dir=str(tmp_path)).evaluators == [{"name": "tasks", "data_dir": str(tmp_path)}]
    (synthetic,) = translated(tasks="synthetic").evaluators
    assert synthetic["synthetic"] and synthetic["tasks"] == list(translated().tasks)
    assert translated(tasks={"bash_command": "my-commands.jsonl"}).evaluators == []
    assert translated(evaluators=[]).evaluators == []


def test_without_the_extra_a_run_says_that_it_scores_no_answers(monkeypatch):
    from highnoon.training.recipes.hatching import task_evaluators

    monkeypatch.setattr(task_evaluators, "_EXTRA", ("no_such_package",))
    with pytest.warns(UserWarning, match=r"need `no_such_package`; install it with pip install 'highnoon"):
        assert translated().evaluators == []


def test_a_run_without_a_curriculum_lasts_max_iters():
    mixed = translated(curriculum={"enabled": False})
    (stage,) = mixed.curriculum["stages"]
    assert stage["iters"] == 50 and set(stage["weights"]) == set(TASKS)
    own = {key: value for key, value in GUIDE.items() if key != "curriculum"}
    stage = {"name": "own", "datasets": "texts"}
    assert Recipe.from_dict({**own, "stages": [stage]}).stages == [{**stage, "steps": 50}]
    with pytest.raises(ConfigError, match="`training.max_iters` is the length of a run of one stage"):
        Recipe.from_dict({**own, "stages": [stage, {**stage, "name": "b"}]})


def test_nan_check_cannot_be_switched_off():
    with pytest.warns(UserWarning, match="`monitor.nan_check: false` has no effect"):
        translated(monitor={"nan_check": False})


def test_other_recipes_are_as_they_were():
    plain = {"model": {"n_layer": 3}, "training": {"lr": 1e-3}, "stages": [{"name": "a", "datasets": "b"}]}
    assert translate_recipe(plain, set()) is plain
    assert Recipe.from_dict(plain).preset is None


def test_overrides_say_either_name_of_a_field(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(json.dumps({**GUIDE, "lif": LIF}))
    words = ["model.num_reasoning_blocks=1", "training.warmup_steps=7", "lif.tau_mem=20", "eval_interval=9"]
    recipe = Recipe.load(path, [*words, "curriculum.stages.0.iters=10", "training.max_iters=40"])
    assert recipe.model["num_reasoning_blocks"] == 1 and recipe.training["warmup_steps"] == 7
    assert "tau_mem=20.0" in recipe.model["block_pattern"] and recipe.eval_interval == 9
    assert recipe.curriculum["max_iters"] == 40
    quick = Recipe.load(path, {"steps": 3})
    assert [stage["iters"] for stage in quick.curriculum["stages"]] == [3, 3]
    assert "max_iters" not in quick.curriculum
    with pytest.raises(ConfigError, match="`lif` has no key `tau`"):
        Recipe.load(path, ["lif.tau=20"])


def test_a_section_given_as_an_override_makes_neurons_spike(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(json.dumps(GUIDE))
    assert Recipe.load(path, ["lif.tau_mem=20"]).model["block_pattern"] == "spiking_bdh(tau_mem=20.0)"


def test_a_saved_recipe_is_read_without_translation(tmp_path):
    recipe = translated(preset="highnoon-nano", tasks="synthetic", model={"n_layer": 1})
    recipe.save(tmp_path / "recipe.yaml")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = Recipe.load(tmp_path / "recipe.yaml")
    assert again.to_dict() == recipe.to_dict()
    assert not {"lif", "stdp", "bio", "monitor"} & set(again.to_dict())


def test_the_options_of_the_guide_name_keys_of_a_recipe():
    from highnoon.cli.__main__ import parse
    from highnoon.cli.train import read_recipe

    words = (
        "--data texts --log-dir logs/run_001 --name hatching_v1 --log-freq 5 --save-freq 7 --grad-clip 0.5"
    )
    recipe = read_recipe(parse(["train", *words.split()]))
    assert (recipe.log_dir, recipe.run_name) == ("logs/run_001", "hatching_v1")
    assert (recipe.log_interval, recipe.checkpoint_interval) == (5, 7)
    assert recipe.training["gradient_clip"] == 0.5
