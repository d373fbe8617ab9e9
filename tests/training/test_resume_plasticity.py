"""Spike timing survives a resume with the rest of the run, and needs no array in a checkpoint."""

from __future__ import annotations

import numpy as np
import pytest

import highnoon as hn
from highnoon.config import TrainingConfig
from highnoon.models.arrays import load_arrays
from highnoon.models.memory import bytes_to_train
from highnoon.training.checkpoints import checkpoint, snapshot
from highnoon.training.learner import Learner
from highnoon.training.objective import NextToken
from highnoon.training.steps.run_schedule import RunSchedule

pytestmark = pytest.mark.slow


def final_arrays(directory):
    folder = checkpoint.find_checkpoint(directory)
    return load_arrays(folder / "model.safetensors") | load_arrays(folder / snapshot.OPTIMIZER_FILE)


def trainer_of(make_model, corpus, seed, stdp=True, trainable=None):
    pattern = f"spiking_bdh(multiplier=4, stdp={stdp}, stdp_rate=1.0)"
    model = make_model(seed, block_pattern=pattern, num_reasoning_blocks=2, share_blocks=True)
    options = {"learning_rate": 1e-3, "batch_size": 2, "gradient_accumulation_steps": 2}
    trainer = hn.Trainer(model, jit_compile=False, **options)
    return trainer.add_curriculum_stage("all", corpus, steps=4, trainable=trainable)


def test_a_resumed_run_with_spike_timing_ends_with_the_same_bits(make_model, corpus, tmp_path):
    quiet = {"log_dir": None, "verbose": False}
    saved = {"checkpoint_interval": 1, "keep_checkpoints": 99, **quiet}
    ratios = []
    whole = trainer_of(make_model, corpus, 0)
    whole.add_callback(
        lambda event: (
            ratios.append(event["metrics"]["train/update_ratio"]) if event["event"] == "log" else None
        )
    )
    whole.train(checkpoint_dir=tmp_path / "whole", log_interval=1, **saved)
    second = checkpoint.step_folders(tmp_path / "whole")[1]
    trainer_of(make_model, corpus, 1).train(resume_from=second, checkpoint_dir=tmp_path / "again", **quiet)
    one, again = final_arrays(tmp_path / "whole"), final_arrays(tmp_path / "again")
    assert one.keys() == again.keys()
    assert not [name for name in one if one[name].tobytes() != again[name].tobytes()]
    # Without it the same arrays are saved, and the encoder is another.
    trainer_of(make_model, corpus, 0, stdp=False).train(checkpoint_dir=tmp_path / "off", **saved)
    off = final_arrays(tmp_path / "off")
    assert off.keys() == one.keys()
    (encoder,) = (name for name in one if name.endswith("encoder") and "optimizer" not in name)
    assert np.abs(one[encoder] - off[encoder]).max() > 1e-4
    assert len(ratios) == 4 and min(ratios) > 0

    # A stage that trains other weights leaves the encoder as it is.
    frozen = trainer_of(make_model, corpus, 0, trainable=["*decoder*"])
    before = {weight.path: weight.numpy() for weight in frozen.model.weights}
    frozen.train(save_checkpoints=False, **quiet)
    moved = {w.path.split("/")[-1] for w in frozen.model.weights if (w.numpy() != before[w.path]).any()}
    assert "decoder" in moved and "encoder" not in moved


def test_the_memory_of_the_sums_is_counted(make_model, corpus):
    on, off = trainer_of(make_model, corpus, 0), trainer_of(make_model, corpus, 0, stdp=False)
    numbers = int(np.prod(next(w.shape for w in on.model.weights if w.path.endswith("encoder")))) + 1
    assert on.preflight().counter_bytes - off.preflight().counter_bytes == 2 * 4 * numbers
    sizes = [bytes_to_train(trainer.model.config) for trainer in (on, off)]
    assert sizes[0] - sizes[1] == 3 * 4 * numbers


def test_compiled_and_recomputed_blocks_count_each_spike_once(make_model):
    rng = np.random.default_rng(0)
    ids = rng.integers(4, 263, (4, 16), dtype=np.int32)
    rows = {"token_ids": ids, "labels": np.roll(ids, -1, 1), "segment_ids": np.ones_like(ids)}
    rows |= {"positions": np.zeros_like(ids) + np.arange(16, dtype=np.int32)}
    rows |= {"loss_weights": np.ones(ids.shape, np.float32)}

    def encoder_after_a_step(jit_compile, recomputes):
        pattern = "spiking_bdh(multiplier=4, stdp=True, stdp_rate=1.0)"
        model = make_model(block_pattern=pattern, num_reasoning_blocks=2, share_blocks=True)
        if recomputes:
            model.gradient_checkpointing_enable()
        schedule = RunSchedule([1e-5], [10], warmup_steps=0)
        Learner(model, TrainingConfig(batch_size=2), schedule, jit_compile=jit_compile).step(
            rows, NextToken()
        )
        return next(w.numpy() for w in model.weights if w.path.endswith("encoder"))

    plain = encoder_after_a_step(jit_compile=False, recomputes=False)
    for options in ({"jit_compile": None, "recomputes": False}, {"jit_compile": False, "recomputes": True}):
        np.testing.assert_allclose(encoder_after_a_step(**options), plain, atol=1e-6, err_msg=str(options))
