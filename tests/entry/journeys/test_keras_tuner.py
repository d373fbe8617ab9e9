"""What somebody who knows KerasTuner does: a search around the Trainer, and one around `fit`."""

from __future__ import annotations

import json

import keras
import keras_tuner
import numpy as np
import pytest

import highnoon as hn
from highnoon.tokenization import ByteTokenizer

pytestmark = pytest.mark.slow

WORDS = "noon sun moon star light shade river stone field wind rain cloud".split()
TEXTS = [" ".join(np.random.default_rng(i).choice(WORDS, size=6 + i % 5)) for i in range(40)]
TINY = {"num_reasoning_blocks": 1, "embedding_dim": 16, "block_pattern": "attention+mlp", "dtype": "float32"}


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HIGHNOON_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    lines = [json.dumps({"text": text}) + "\n" for text in TEXTS]
    (tmp_path / "texts.jsonl").write_text("".join(lines))


def new_model():
    keras.utils.set_random_seed(0)
    model = hn.create_model("highnoon-nano", vocab_size=263, max_seq_length=32, **TINY)
    model.tokenizer = ByteTokenizer()
    return model


def trained(model, learning_rate, folder):
    trainer = hn.Trainer(model, learning_rate=learning_rate, batch_size=4, warmup_steps=1)
    trainer.add_curriculum_stage("only", "texts.jsonl", steps=6)
    return trainer.train(checkpoint_dir=folder, verbose=False)


def best_rate(tuner):
    (best,) = tuner.get_best_hyperparameters(1)
    return best.get("learning_rate")


def test_a_tuner_searches_around_the_trainer():
    class TrainerTuner(keras_tuner.RandomSearch):
        def run_trial(self, trial, *args, **kwargs):
            rate = trial.hyperparameters.Choice("learning_rate", [1e-6, 1e-2])
            summary = trained(new_model(), rate, f"runs/{trial.trial_id}")
            return {"val_loss": summary["best_val_loss"]}

    tuner = TrainerTuner(
        objective=keras_tuner.Objective("val_loss", "min"), max_trials=2, directory="search", seed=0
    )
    tuner.search()
    assert best_rate(tuner) == 1e-2
    best = hn.load_model(f"runs/{tuner.oracle.get_best_trials(1)[0].trial_id}/step_00000006")
    assert best.tokenizer.vocab_size == 263


def test_a_hyper_model_fits_by_the_trainer():
    class Trained(keras_tuner.HyperModel):
        def build(self, hp):
            return new_model()

        def fit(self, hp, model, *args, **kwargs):
            rate = hp.Choice("learning_rate", [1e-6, 1e-2])
            return trained(model, rate, None)["best_val_loss"]

    tuner = keras_tuner.GridSearch(Trained(), max_trials=2, directory="search", project_name="hyper")
    tuner.search()
    assert best_rate(tuner) == 1e-2


def test_a_tuner_searches_around_fit_on_texts():
    def build(hp):
        model = new_model()
        model.compile(optimizer=keras.optimizers.Adam(hp.Choice("learning_rate", [1e-6, 1e-2])))
        return model

    tuner = keras_tuner.RandomSearch(
        build, objective="val_loss", max_trials=2, directory="search", project_name="fit", seed=0
    )
    tuner.search(TEXTS[:32], epochs=2, batch_size=8, validation_data=(TEXTS[32:],), verbose=0)
    assert best_rate(tuner) == 1e-2
    (model,) = tuner.get_best_models(1)
    assert model.generate("sun", max_length=4, seed=0).startswith("sun")
