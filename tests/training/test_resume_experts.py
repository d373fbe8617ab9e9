"""The balancing bias of experts survives a resume with the rest of the run."""

from __future__ import annotations

import numpy as np
import pytest

import highnoon as hn
from highnoon.models.arrays import load_arrays
from highnoon.training.checkpoints import checkpoint, snapshot


def final_arrays(directory):
    folder = checkpoint.find_checkpoint(directory)
    return load_arrays(folder / "model.safetensors") | load_arrays(folder / snapshot.OPTIMIZER_FILE)


@pytest.mark.slow
@pytest.mark.parametrize("router_type", ["sigmoid", "causal_expert_choice"])
def test_a_resumed_run_ends_with_the_same_bits(make_model, corpus, tmp_path, router_type):
    quiet = {"log_dir": None, "verbose": False}

    def trainer_of(seed):
        model = make_model(seed, router_type=router_type, num_moe_experts=4, num_experts_per_tok=2)
        trainer = hn.Trainer(model, learning_rate=3e-3, batch_size=2, gradient_accumulation_steps=2)
        return trainer.add_curriculum_stage("all", corpus, steps=6)

    trainer_of(0).train(
        checkpoint_dir=tmp_path / "whole", checkpoint_interval=1, keep_checkpoints=99, **quiet
    )
    third = checkpoint.step_folders(tmp_path / "whole")[2]
    trainer_of(1).train(resume_from=third, checkpoint_dir=tmp_path / "again", **quiet)
    whole, again = final_arrays(tmp_path / "whole"), final_arrays(tmp_path / "again")
    assert whole.keys() == again.keys()
    assert not [name for name in whole if whole[name].tobytes() != again[name].tobytes()]
    (bias,) = (array for name, array in again.items() if name.endswith("expert_bias"))
    assert len(np.unique(bias)) > 1
