"""A recipe's keys of `model` reach the model."""

from __future__ import annotations

import pytest

from highnoon.config import ConfigError
from highnoon.training.recipes import Recipe
from highnoon.training.recipes.make_trainer import make_model

SHAPE = {"n_layer": 2, "n_embd": 16, "n_head": 2, "mlp_multiplier": 2}
GUIDE = {
    "preset": "hatching-nano",
    "model": {**SHAPE, "gradient_checkpointing": True, "dtype": "mixed_bfloat16"},
    "training": {"batch_size": 2, "max_seq_len": 32, "max_iters": 2, "warmup_iters": 0},
    "tasks": {"bash_command": "synthetic:bash_command:60"},
    "curriculum": {"stages": [{"iters": 2, "weights": {"bash_command": 1.0}}]},
    "evaluators": [],
    "verbose": False,
}


@pytest.mark.slow
@pytest.mark.parametrize("sections", [{}, {"lif": {"tau_mem": 4.0}}], ids=["bdh", "spiking_bdh"])
def test_both_models_of_the_guide_train_with_recomputed_blocks_in_bfloat16(tmp_path, monkeypatch, sections):
    monkeypatch.chdir(tmp_path)
    recipe = Recipe.from_dict({**GUIDE, **sections, "output": "run"})
    assert recipe.train()["total_steps"] == 2
    again = make_model(Recipe.load("run"))
    assert again.backbone.gradient_checkpointing and again.backbone.compute_dtype == "bfloat16"
    plain = make_model(Recipe.load("run", ["model.gradient_checkpointing=false"]))
    assert again.activation_bytes(8, 32) < plain.activation_bytes(8, 32)


def test_recomputed_blocks_are_a_flag_and_need_a_model_that_has_blocks(monkeypatch):
    recipe = Recipe.from_dict({**GUIDE, "model": {**SHAPE, "gradient_checkpointing": "yes"}})
    with pytest.raises(ConfigError, match="`model.gradient_checkpointing` must be true or false"):
        recipe.make_trainer()
    monkeypatch.setattr("highnoon.training.recipes.make_trainer.create_model", lambda *_, **__: object())
    with pytest.raises(ConfigError, match="received object, which has none; leave it out"):
        make_model(Recipe.from_dict(GUIDE))
