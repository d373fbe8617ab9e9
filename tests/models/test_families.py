"""Model classes of one's own: created, saved, loaded and resumed by name."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

import highnoon as hn
from highnoon.config import ConfigError
from highnoon.models import ModelFolderError, register_family
from highnoon.models.families import FAMILIES
from highnoon.models.loading import load_model

IDS = np.random.default_rng(0).integers(7, 50, (2, 5))
SOURCE = """
import keras


class Bigram(keras.Model):
    def __init__(self, vocab_size=300, hidden_dim=8, **kwargs):
        super().__init__(**kwargs)
        self.table = keras.layers.Embedding(vocab_size, hidden_dim)
        self.head = keras.layers.Dense(vocab_size)
        self.vocab_size, self.hidden_dim, self.tokenizer = vocab_size, hidden_dim, None

    def call(self, inputs, training=None):
        return self.head(self.table(inputs["token_ids"] if isinstance(inputs, dict) else inputs))

    def get_config(self):
        return {**super().get_config(), "vocab_size": self.vocab_size, "hidden_dim": self.hidden_dim}
"""


@pytest.fixture
def package(tmp_path, monkeypatch) -> pathlib.Path:
    """A package that is installed, but not imported, and registers a family by an entry point."""
    folder = tmp_path / "site"
    information = folder / "bigram_package-1.0.dist-info"
    information.mkdir(parents=True)
    (folder / "bigram_package.py").write_text(SOURCE)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: bigram_package\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[highnoon.families]\ntwo_layers = bigram_package:Bigram\n")
    monkeypatch.setattr(FAMILIES, "_classes", dict(FAMILIES._classes))
    monkeypatch.syspath_prepend(folder)
    yield folder
    sys.modules.pop("bigram_package", None)


@pytest.mark.slow
def test_a_family_of_an_installed_package_is_created_saved_and_loaded_in_another_process(package, tmp_path):
    model = hn.create_model("two_layers", vocab_size=50)
    expected = np.asarray(model(IDS))
    folder = hn.save_model(model, tmp_path / "model")
    description = json.loads((folder / "config.json").read_text())
    assert description["family"] == "two_layers" and "bigram_package" not in json.dumps(description)
    again = hn.load_model(folder)
    assert type(again) is type(model) and again is not model
    np.testing.assert_array_equal(again(IDS), expected)
    assert hn.load_model(folder, dtype="bfloat16").compute_dtype == "bfloat16"
    np.save(tmp_path / "ids.npy", IDS)
    command = (
        f"import numpy, highnoon as hn; model = hn.load_model({str(folder)!r}); "
        f"logits = model(numpy.load({str(tmp_path / 'ids.npy')!r})); "
        "print(type(model).__module__, numpy.asarray(logits).sum())"
    )
    path = os.pathsep.join([str(package), *sys.path])
    result = subprocess.run(
        [sys.executable, "-c", command],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    module, total = result.stdout.split()
    assert module == "bigram_package" and float(total) == pytest.approx(float(expected.sum()), rel=1e-6)


def test_a_folder_of_a_family_that_is_not_known_says_what_to_do(package, tmp_path, monkeypatch):
    model = hn.create_model("two_layers", vocab_size=50)
    model(IDS)
    folder = hn.save_model(model, tmp_path / "model")
    monkeypatch.setattr(FAMILIES, "_classes", {})
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(package)])
    with pytest.raises(
        ModelFolderError, match="no model family `two_layers`.*entry point in `highnoon.families`"
    ) as caught:
        hn.load_model(folder)
    assert "\n" not in str(caught.value)


def test_nothing_is_imported_that_a_folder_names(package, tmp_path):
    model = hn.create_model("two_layers", vocab_size=50)
    model(IDS)
    file = hn.save_model(model, tmp_path / "model") / "config.json"
    (tmp_path / "model" / "manifest.json").unlink()
    description = json.loads(file.read_text())
    module = {"module": "trap", "class_name": "Trap", "config": {}}
    for change, words in (
        ({"family": "bigram_package:Bigram"}, "no model family"),
        ({"family": "bigram_package.Bigram"}, "no model family"),
        ({"config": {"vocab_size": module}}, "names the module 'trap'"),
        ({"config": {"layers": [{"layer": [module]}]}}, "names the module 'trap'"),
        ({"config": [1]}, "`config` must be a mapping"),
        ({"family": 3}, "its fields are not those that save_model writes"),
    ):
        file.write_text(json.dumps({**description, **change}))
        with pytest.raises(ModelFolderError, match=words):
            hn.load_model(tmp_path / "model")


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the Trainer runs on TensorFlow")
def test_a_family_resumes_with_the_bits_of_a_run_that_was_not_stopped(package, tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text(
        "\n\n".join(f"the number {i} squared is {i * i}" for i in range(200))
    )

    def trainer(model):
        trainer = hn.Trainer(model, learning_rate=1e-2, batch_size=2, max_seq_length=16, jit_compile=False)
        return trainer.add_curriculum_stage("only", [str(tmp_path / "texts")], steps=4)

    def new_model():
        keras.utils.set_random_seed(3)
        model = hn.create_model("two_layers", vocab_size=300)
        model(IDS)
        return model

    options = {"log_dir": None, "verbose": False, "checkpoint_interval": 2, "keep_checkpoints": 9}
    trainer(new_model()).train(checkpoint_dir=tmp_path / "whole", **options)
    middle = tmp_path / "whole" / "step_00000002"
    resumed = hn.load_model(middle)
    assert type(resumed).__name__ == "Bigram" and resumed.tokenizer is not None
    trainer(resumed).train(resume_from=middle, checkpoint_dir=tmp_path / "again", **options)
    finals = [load_model(tmp_path / run / "step_00000004") for run in ("whole", "again")]
    for one, other in zip(finals[0].weights, finals[1].weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert any(
        (np.asarray(a) != np.asarray(b)).any()
        for a, b in zip(finals[0].weights, load_model(middle).weights, strict=True)
    )


def test_a_class_that_cannot_be_a_family_is_refused():
    with pytest.raises(ConfigError, match="must define `get_config`"):

        @register_family("careless")
        class Careless(keras.Model):
            def __init__(self, width=3):
                super().__init__()

    with pytest.raises(ConfigError, match="must be a subclass of keras.Model or Family"):
        register_family("number")(int)
    with pytest.raises(ConfigError, match="`language_model` exists already"):
        register_family("language_model")(hn.LanguageModel.backbone_cls)
    assert "careless" not in FAMILIES


def test_a_model_without_a_family_is_not_saved_as_one(tmp_path):
    model = keras.Sequential([keras.layers.Dense(2)])
    model.build((None, 3))
    with pytest.raises(ModelFolderError, match="a Sequential cannot be loaded again by name"):
        hn.save_model(model, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_class_derived_from_the_language_model_is_a_language_model(tmp_path):
    class Mine(hn.LanguageModel):
        pass

    model = Mine(vocab_size=50, embedding_dim=16, num_reasoning_blocks=1, block_pattern="transformer")
    again = hn.load_model(hn.save_model(model, tmp_path / "model"))
    assert type(again) is hn.LanguageModel
    np.testing.assert_array_equal(again(IDS), model(IDS))


def test_language_models_are_created_by_their_family_too():
    model = hn.create_model("language_model", vocab_size=50, embedding_dim=16, num_reasoning_blocks=1)
    assert type(model) is hn.LanguageModel and model.config.embedding_dim == 16
    with pytest.raises(ConfigError, match="families: language_model"):
        hn.create_model("lingual")
