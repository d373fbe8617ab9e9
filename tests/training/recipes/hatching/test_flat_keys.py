"""The flat configuration files of the guide's repository are read."""

from __future__ import annotations

import pytest

from highnoon.config import ConfigError
from highnoon.training.recipes.recipe import Recipe

FLAT = {
    "model_type": "hatching",
    "n_layer": 2,
    "n_embd": 64,
    "n_head": 4,
    "vocab_size": 50257,
    "mlp_multiplier": 8,
    "tau_mem": 20.0,
    "tau_plus": 20.0,
    "max_steps": 30,
    "batch_size": 4,
    "max_seq_len": 64,
    "learning_rate": 3e-4,
    "beta2": 0.95,
    "max_grad_norm": 1.0,
    "warmup_steps": 3,
    "lr_decay_steps": 30,
    "min_lr_ratio": 0.2,
    "checkpoint_dir": "checkpoints",
    "checkpoint_freq": 10,
    "keep_last_n_checkpoints": 5,
    "log_freq": 1,
    "device": "auto",
    "dtype": "bfloat16",
    "experiment_name": "first",
    "use_wandb": True,
    "wandb_project": "bdh",
    "early_stopping_patience": 0,
    "curriculum_stages": [],
}


@pytest.mark.filterwarnings("ignore:.*no effect")
def test_flat_keys_reach_their_sections():
    recipe = Recipe.from_dict(FLAT)
    assert recipe.model["block_pattern"] == "spiking_bdh(multiplier=8, tau_mem=20.0)"
    assert recipe.model["vocab_size"] == 50257 and recipe.model["dtype"] == "mixed_bfloat16"
    assert recipe.training["adam_beta2"] == 0.95 and recipe.training["min_learning_rate_ratio"] == 0.2
    assert recipe.training["early_stopping_patience"] is None
    assert (recipe.checkpoint_dir, recipe.checkpoint_interval) == ("checkpoints", 10)
    assert (recipe.run_name, recipe.keep_checkpoints, recipe.wandb) == ("first", 5, {"project": "bdh"})
    (stage,) = recipe.curriculum["stages"]
    assert stage["iters"] == 30 and len(stage["weights"]) == 5


def test_keys_without_effect_are_said():
    with pytest.warns(UserWarning, match="`device` has no effect: the run takes all devices"):
        Recipe.from_dict(FLAT)


@pytest.mark.filterwarnings("ignore:.*no effect")
def test_stages_of_datasets_become_stages():
    stage = {"name": "one", "max_steps": 10, "dataset": "tinystories", "learning_rate": "3e-4"}
    recipe = Recipe.from_dict({**FLAT, "curriculum_stages": [stage]})
    assert recipe.stages == [
        {"name": "one", "datasets": ["tinystories"], "steps": 10, "overrides": {"learning_rate": 3e-4}}
    ]
    assert not recipe.curriculum


@pytest.mark.filterwarnings("ignore:.*no effect")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "advanced"}, "`model_type` must be one of bdh, hatching"),
        ({"tau_meme": 1.0}, "has no key `tau_meme`; did you mean `tau_mem`"),
        ({"tau_mem": 0}, "`lif.tau_mem` must be above 0"),
        ({"dtype": "int8"}, "`model.dtype` must be one of"),
        ({"curriculum_stages": [{"name": "a"}]}, "needs `dataset` and `max_steps`"),
    ],
)
def test_a_mistake_is_named(changes, message):
    with pytest.raises(ConfigError, match=message):
        Recipe.from_dict({**FLAT, **changes})


@pytest.mark.filterwarnings("ignore:.*no effect")
def test_bdh_has_no_membranes():
    assert Recipe.from_dict({**FLAT, "model_type": "bdh"}).model["block_pattern"] == "bdh(multiplier=8)"
