"""The objective: the mean squared error of the noise, on a transformer that does not change."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest

import highnoon as hn
from highnoon.config import ConfigError
from highnoon.experts import GaussianDiffuser, GaussianDiffusion
from highnoon.models import ReasoningBackbone
from highnoon.models.arrays import load_arrays
from highnoon.testing import check_model as battery
from highnoon.testing.check_objective import check_objective
from highnoon.tokenization import ByteTokenizer
from highnoon.training.frozen_models import weights_hash
from highnoon.training.objective import objective_from_config

ROW, WIDTH = 10, 8
SHAPE = {"embedding_dim": WIDTH, "num_reasoning_blocks": 1, "num_heads": 1, "ffn_dim": 8}
COMMAND = "highnoon experts pretrain --expert transformer"


def make_transformer(vocab_size=12):
    keras.utils.set_random_seed(1)
    return hn.LanguageModel(vocab_size, max_seq_length=32, block_pattern="attention+mlp", **SHAPE)


def make_model():
    keras.utils.set_random_seed(0)
    diffuser = GaussianDiffuser(WIDTH, 8, 1, 32, num_heads=1, ffn_dim=8, training_steps=20)
    battery._wake(diffuser)
    return diffuser


def make_objective():
    return GaussianDiffusion(make_transformer())


def make_batch(rows=8):
    """Rows of two documents and padding, with their noise."""
    rng = np.random.default_rng(0)
    ends, used = rng.integers(2, 5, (rows, 1)), rng.integers(6, ROW + 1, (rows, 1))
    index = np.arange(ROW)[None]
    segments = np.where(index < ends, 1, 2) * (index < used)
    ids = rng.integers(1, 12, (rows, ROW)) * (segments > 0)
    return {
        "token_ids": ids.astype("int32"),
        "labels": (np.roll(ids, -1, axis=1) * (segments > 0)).astype("int32"),
        "segment_ids": segments.astype("int32"),
        "positions": (np.where(index < ends, index, index - ends) * (segments > 0)).astype("int32"),
        "loss_weights": (segments > 0).astype("float32"),
        "noise": rng.normal(size=(rows, ROW, WIDTH)).astype("float32"),
        "noise_times": rng.random((rows, ROW)).astype("float32"),
    }


def test_the_loss_is_that_of_a_loop_over_the_tokens_of_each_document():
    model, transformer, batch = make_model(), make_transformer(), make_batch(3)
    total, count = 0.0, 0
    for row in range(3):
        for document in (1, 2):
            here = np.flatnonzero(batch["segment_ids"][row] == document)
            states = np.asarray(transformer.backbone(batch["token_ids"][row : row + 1, here]))
            steps = 1 + np.floor(batch["noise_times"][row, here] * 20).astype("int32")
            level, noise = model.alpha_bars[steps][:, None], batch["noise"][row, here]
            noisy = np.sqrt(level) * states[0] + np.sqrt(1 - level) * noise
            given = {"states": states, "noisy_states": noisy[None].astype("float32"), "steps": steps[None]}
            predicted = np.asarray(model(given))[0]
            for place in range(1, len(here)):  # the first state is given
                total += np.mean((noise[place] - predicted[place]) ** 2)
                count += 1
    objective = GaussianDiffusion(transformer)
    terms = objective.terms(model, batch, training=False)
    assert float(objective.weight(batch)) == count
    assert float(terms.loss_sum) == pytest.approx(total, rel=1e-4)


@pytest.mark.slow
def test_the_objective_keeps_all_promises():
    check_objective(make_objective, make_model, make_batch(), reloads=False, jax=False)


def test_it_is_registered_by_name_and_says_which_transformer_it_learned(tmp_path):
    path = str(hn.save_model(make_transformer(), tmp_path / "transformer"))
    objective = objective_from_config({"name": "gaussian_diffusion", "transformer": path})
    found = weights_hash(make_transformer())
    assert objective.get_config() == {"transformer": path, "transformer_hash": found}
    assert objective.describe_outputs() == {"transformer_hash": found}
    with pytest.raises(ConfigError, match="must have weights 0123; received"):
        GaussianDiffusion(path, transformer_hash="0123").get_config()


def test_a_transformer_that_sees_later_tokens_is_refused(monkeypatch):
    monkeypatch.setattr(ReasoningBackbone, "is_causal", property(lambda backbone: False))
    with pytest.raises(ConfigError, match="`transformer` must be a causal model") as refusal:
        make_objective()
    assert "\n" not in str(refusal.value)


def test_without_a_trained_transformer_the_error_names_the_command_to_run_first(tmp_path):
    for transformer in (None, str(tmp_path / "nowhere"), make_model()):
        with pytest.raises(ConfigError, match=f"run `{COMMAND}` first") as refusal:
            GaussianDiffusion(transformer)
        assert "\n" not in str(refusal.value)
    with pytest.raises(ConfigError, match="trains a GaussianDiffuser of state_dim=8.*a LanguageModel"):
        make_objective().terms(make_transformer(), make_batch(), training=True)


def make_trainer(folder, transformer):
    keras.utils.set_random_seed(2)
    model = GaussianDiffuser(WIDTH, 8, 1, 32, num_heads=1, ffn_dim=8, tokenizer=ByteTokenizer())
    trainer = hn.Trainer(model, batch_size=4, max_seq_length=16, learning_rate=1e-2, jit_compile=False)
    objective = {"name": "gaussian_diffusion", "transformer": transformer}
    return trainer.add_curriculum_stage("states", str(folder / "corpus.jsonl"), steps=6, objective=objective)


@pytest.mark.slow
def test_training_leaves_the_transformer_as_it_was_and_resumes_with_the_same_bits(tmp_path):
    rng = np.random.default_rng(0)
    lines = [json.dumps({"text": " ".join(rng.choice(["sun", "moon", "star"], size=5))}) for _ in range(40)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    transformer = make_transformer(263)
    transformer.tokenizer = ByteTokenizer()
    path = str(hn.save_model(transformer, tmp_path / "transformer"))

    class Stop(Exception):
        pass

    def stop(event):
        if event["event"] == "step_end" and event["step"] == 4:
            raise Stop

    options = {"checkpoint_interval": 3, "verbose": False, "log_dir": None}
    whole = make_trainer(tmp_path, path)
    whole.train(checkpoint_dir=tmp_path / "whole", **options)
    assert whole.model.outputs_description == {"transformer_hash": weights_hash(transformer)}
    assert weights_hash(hn.load_model(path)) == weights_hash(transformer)
    cut = make_trainer(tmp_path, path)
    cut.on_callback_error = "raise"
    cut.add_callback(stop)
    with pytest.raises(Stop):
        cut.train(checkpoint_dir=tmp_path / "cut", **options)
    make_trainer(tmp_path, path).train(checkpoint_dir=tmp_path / "cut", resume_from=True, **options)
    ends = [load_arrays(tmp_path / name / "step_00000006" / "model.safetensors") for name in ("whole", "cut")]
    assert len(ends[0]) == len(whole.model.weights)  # and no weight of the transformer
    for name, array in ends[0].items():
        np.testing.assert_array_equal(ends[1][name], array)
