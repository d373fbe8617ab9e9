"""The guide's trainer is a front of a recipe, and its checkpoint names are views of the one form."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

from highnoon.compat import MultiTaskConfig, MultiTaskTrainer, read_hatching_checkpoint
from highnoon.config import ConfigError
from highnoon.training.recipes import Recipe

SHAPE = {
    "block_pattern": "transformer",
    "embedding_dim": 16,
    "num_reasoning_blocks": 1,
    "vocab_size": 263,
    "max_seq_length": 32,
}
TEXT = "Noon: the sun is high above the plain, and nobody is in the street. "


def make_trainer(name: str) -> MultiTaskTrainer:
    stages = [
        {"iters": 2, "weights": {"text_completion": 0.5, "bash_command": 0.5}},
        {"iters": 3, "weights": {"bash_command": 1.0}},
    ]
    recipe = Recipe.from_dict(
        {
            "preset": "highnoon-nano",
            "model": {**SHAPE, "dropout": 0.1},
            "training": {"batch_size": 2, "max_seq_length": 32, "learning_rate": 1e-2, "warmup_steps": 1},
            "curriculum": {"stages": stages},
            "tasks": {"text_completion": "texts/a.txt", "bash_command": "texts/b.txt"},
            "output": name,
            "checkpoint_dir": f"{name}/own",
            "checkpoint_interval": 2,
            "eval_interval": 2,
            "keep_checkpoints": 9,
            "verbose": False,
            "jit_compile": False,
        }
    )
    return MultiTaskTrainer(recipe)


@pytest.fixture
def texts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "texts"
    folder.mkdir()
    for name in "ab":
        (folder / f"{name}.txt").write_text("\n\n".join(f"{name}{n} {TEXT}" for n in range(40)))
    return folder


@pytest.mark.slow
def test_a_resumed_run_ends_with_the_bits_of_an_uninterrupted_one(texts):
    make_trainer("first").train()
    second = make_trainer("second")
    second.train()
    again = make_trainer("second")
    start_step = again.load_checkpoint("hatching_step_2.pt")
    assert start_step == 2
    again.train(start_step=start_step)
    first, second = (pathlib.Path(run, "model/model.safetensors").read_bytes() for run in ("first", "second"))
    assert first == second

    saved = read_hatching_checkpoint("first/own/hatching_final.pt")
    assert saved["step"] == 5 and saved["config"]["model"]["embedding_dim"] == 16
    assert saved["scheduler_state"]["peak_learning_rate"] == 1e-2
    assert np.isfinite(saved["eval_metrics"]["lowest_val_loss"]) and saved["optimizer_state"]
    assert saved["rng_state"]["seed"] == 42 and saved["rng_state"]["random"]
    assert saved["rng_state"]["data"]["spans"]
    assert read_hatching_checkpoint("first/own/hatching_step_4")["step"] == 4
    with pytest.raises(ConfigError, match="`start_step` is 4, and the loaded checkpoint is of step 2"):
        again.train(start_step=4)


def test_a_start_without_a_checkpoint_is_refused():
    with pytest.raises(ConfigError, match="`start_step` is 5, and no checkpoint is loaded"):
        MultiTaskTrainer(MultiTaskConfig(tasks="synthetic")).train(start_step=5)


def test_the_configuration_has_the_defaults_of_the_guide():
    recipe = MultiTaskTrainer().recipe
    assert recipe.model["num_reasoning_blocks"] == 6 and recipe.training["batch_size"] == 32
    assert recipe.model["block_pattern"].startswith("spiking_bdh(tau_mem=10.0, tau_syn=5.0")
    assert [stage["iters"] for stage in recipe.curriculum["stages"]] == [2000, 3000, 3000, 2000]
    assert (recipe.checkpoint_dir, recipe.log_dir) == ("checkpoints", "logs")
    plastic = MultiTaskConfig(stdp_enabled=True, A_plus=0.02).to_recipe()
    assert "stdp=true" in plastic.model["block_pattern"] and "a_plus=0.02" in plastic.model["block_pattern"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n_layers_": 2}, "has no key `n_layers_`; did you mean `n_layer`"),
        ({"tau_mem": 0.0}, "`lif.tau_mem` must be above 0"),
        ({"model_type": "advanced"}, "`model_type` must be one of bdh, hatching"),
        ({"model_type": "bdh", "stdp_enabled": True}, "`stdp_enabled` needs spiking neurons"),
        (5, "`config` must be a MultiTaskConfig"),
    ],
)
def test_a_mistake_is_named(values, message):
    with pytest.raises(ConfigError, match=message):
        MultiTaskTrainer(values)
