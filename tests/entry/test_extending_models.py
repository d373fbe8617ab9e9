"""A mixer and a model family of one's own, from outside of the package, work like the package's own."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import highnoon as hn
from highnoon.config import ModelConfig
from highnoon.models import count_parameters
from highnoon.models.costs import activation_bytes, flops_per_token
from highnoon.models.families import FAMILIES
from highnoon.models.memory import bytes_to_run, bytes_to_train
from highnoon.models.parts import PARTS
from highnoon.testing.check_mixer import check_mixer

MIXER = '''
"""A moving average with a learned decay of each channel: one file, one registration."""

from keras import ops

from highnoon.layers import Mixer
from highnoon.models.parts import Activations, MixerPart, register_part


class MovingAverage(Mixer):
    def __init__(self, half_life=4.0, **kwargs):
        super().__init__(**kwargs)
        self.half_life = half_life

    def build(self, x_shape):
        self.log_rate = self.add_weight((x_shape[-1],), "zeros", name="log_rate")

    def decay(self):
        rate = ops.exp(ops.cast(self.log_rate, "float32"))
        return ops.exp2(-rate / self.half_life)

    def call(self, x, segment_ids=None, positions=None, training=None):
        time = ops.arange(ops.shape(x)[1])
        lag = time[:, None] - time[None, :]
        decay = ops.power(self.decay(), ops.cast(ops.maximum(lag, 0), "float32")[..., None])
        weights = ops.where((lag >= 0)[..., None], decay, 0.0)[None]
        if segment_ids is not None:
            is_same = segment_ids[:, :, None] == segment_ids[:, None, :]
            weights = ops.where(is_same[..., None], weights, 0.0)
        y = ops.sum(weights * ops.cast(x, "float32")[:, None], axis=2)
        return ops.cast(y, self.compute_dtype)

    def initial_cache(self, batch_size, max_length, dtype=None):
        return {"sum": ops.zeros((batch_size, self.log_rate.shape[0]))}

    def step(self, x, cache, index, padding=None):
        x = ops.cast(x, "float32")
        if padding is not None:
            is_token = index + ops.arange(x.shape[1]) >= padding[:, None]
            x = ops.where(is_token[..., None], x, 0.0)
        sums, outputs = cache["sum"], []
        for i in range(x.shape[1]):
            sums = self.decay() * sums + x[:, i]
            outputs.append(sums)
        return ops.cast(ops.stack(outputs, axis=1), self.compute_dtype), {"sum": sums}


@register_part("guest_average")
class MovingAveragePart(MixerPart):
    def __init__(self, half_life=4.0):
        self.half_life = half_life

    def build(self, config, **kwargs):
        return MovingAverage(self.half_life, **kwargs)

    def parameters(self, config):
        return config.embedding_dim

    def cache_numbers(self, config):
        return config.embedding_dim

    def flops(self, config, length):
        return 2.0 * length * config.embedding_dim

    def activations(self, config, length):
        return Activations(config.embedding_dim * length, 0)
'''
FAMILY = '''
"""Convolutions alone: a model of another class, that no module of HighNoon knows."""

import keras
from keras import ops

from highnoon.models import register_family


@register_family("convolutional")
class Convolutional(keras.Model):
    def __init__(self, vocab_size=300, hidden_dim=16, num_layers=1, **kwargs):
        super().__init__(**kwargs)
        self.vocab_size, self.hidden_dim, self.num_layers = vocab_size, hidden_dim, num_layers
        self.tokenizer = None
        self.embedding = keras.layers.Embedding(vocab_size, hidden_dim)
        self.convolutions = [
            keras.layers.Conv1D(hidden_dim, 3, padding="causal", activation="gelu") for _ in range(num_layers)
        ]
        self.head = keras.layers.Dense(vocab_size)

    def build(self, shape=None):
        self.embedding.build((None, None))
        for convolution in self.convolutions:
            convolution.build((None, None, self.hidden_dim))
        self.head.build((None, None, self.hidden_dim))
        self.built = True

    def call(self, inputs, training=None):
        x = self.embedding(inputs["token_ids"] if isinstance(inputs, dict) else inputs)
        for convolution in self.convolutions:
            x = x + convolution(x)
        return ops.cast(self.head(x), "float32")

    def get_config(self):
        own = {"vocab_size": self.vocab_size, "hidden_dim": self.hidden_dim, "num_layers": self.num_layers}
        return {**super().get_config(), **own}
'''
ENTRY_POINTS = """
[highnoon.parts]
guest_average = guest_mixer:MovingAveragePart

[highnoon.families]
convolutional = guest_family:Convolutional
"""
SHAPE = {"embedding_dim": 32, "num_reasoning_blocks": 2, "num_heads": 2, "ffn_dim": 48, "max_seq_length": 32}
PATTERN = "guest_average(half_life=2.5)+mlp, attention+mlp"
IDS = np.random.default_rng(0).integers(7, 260, (2, 12)).astype("int32")
LOADER = """
import sys
import numpy as np
import highnoon as hn

for folder in sys.argv[2:]:
    model = hn.load_model(folder, dtype="float32")
    np.save(folder + ".npy", np.asarray(model(np.load(sys.argv[1]))))
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pathlib.Path]:
    """An installed package whose two modules are imported when a name of theirs is used."""
    folder = tmp_path_factory.mktemp("site")
    information = folder / "guest-1.0.dist-info"
    information.mkdir()
    (folder / "guest_mixer.py").write_text(MIXER)
    (folder / "guest_family.py").write_text(FAMILY)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: guest\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(ENTRY_POINTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PARTS, "_classes", dict(PARTS._classes))
        patch.setattr(FAMILIES, "_classes", dict(FAMILIES._classes))
        patch.syspath_prepend(folder)
        yield folder
    for name in ("guest_mixer", "guest_family"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("texts") / "squares.txt"
    file.write_text("\n\n".join(f"the number {i} squared is {i * i}" for i in range(200)))
    return str(file)


def train(model: Any, corpus: str, steps: int = 40) -> None:
    trainer = hn.Trainer(model, learning_rate=1e-2, batch_size=4, max_seq_length=32, jit_compile=False)
    trainer.add_curriculum_stage("squares", [corpus], steps=steps)
    trainer.train(save_checkpoints=False, log_dir=None, verbose=False)


def loss_of(model: Any, text: str) -> float:
    """The mean cross entropy of a text's tokens, from the logits."""
    ids = np.array([model.tokenizer.encode(text)])
    logits = np.asarray(model(ids[:, :-1], training=False)).astype("float64")
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return -float(np.take_along_axis(log_probs, ids[:, 1:, None], axis=-1).mean())


@pytest.fixture(scope="module")
def trained(package: pathlib.Path, corpus: str) -> hn.HSMN:
    model = hn.create_model("highnoon-nano", block_pattern=PATTERN, dtype="float32", **SHAPE)
    train(model, corpus)
    return model


@pytest.fixture(scope="module")
def saved(trained: hn.HSMN, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return hn.save_model(trained, tmp_path_factory.mktemp("mixer") / "model")


def test_a_mixer_of_ones_own_passes_the_battery(package: pathlib.Path) -> None:
    import guest_mixer

    check_mixer(guest_mixer.MovingAverage(half_life=3.0), width=8)


def test_a_mixer_of_ones_own_is_trained_with_the_model(trained: hn.HSMN) -> None:
    rates = [weight for weight in trained.trainable_variables if weight.name == "log_rate"]
    assert len(rates) == SHAPE["num_reasoning_blocks"]
    assert all(np.abs(np.asarray(weight)).max() > 1e-3 for weight in rates)  # they start at 0
    assert loss_of(trained, "the number 7 squared") < np.log(trained.vocab_size) - 0.5


def test_a_mixer_of_ones_own_decodes_from_its_cache_as_in_the_full_pass(saved: pathlib.Path) -> None:
    model = hn.load_model(saved, dtype="float32")
    model.tokenizer = None  # every id may be drawn
    ids = model.generate(IDS, max_length=8, temperature=0.0)
    assert ids.shape == (2, 20)
    logits = np.asarray(model(ids[:, :-1], training=False))[:, 11:]
    np.testing.assert_array_equal(logits.argmax(-1), ids[:, 12:])


def test_a_mixer_of_ones_own_is_counted(trained: hn.HSMN) -> None:
    config, blocks, width = trained.config, SHAPE["num_reasoning_blocks"], SHAPE["embedding_dim"]
    without = ModelConfig(**{**config.to_dict(), "block_pattern": "attention+mlp"})
    mlp = width + 3 * width * SHAPE["ffn_dim"]
    mixer = 2 * width  # its rates, and the norm before it
    counts = [count_parameters(one) for one in (config, without)]
    assert trained.count_params() == counts[0] == counts[1] + blocks * (mixer + mlp)
    assert bytes_to_train(config) - bytes_to_train(without) == 16 * (counts[0] - counts[1])
    assert bytes_to_run(config) - bytes_to_run(without) == 4 * (counts[0] - counts[1] + blocks * width)
    flops = flops_per_token(config, 32) - flops_per_token(without, 32)
    assert flops == 6 * (counts[0] - counts[1]) + 3 * blocks * 2.0 * 32 * width
    stored = [activation_bytes(one, 4, 32, "float32") for one in (config, without)]
    assert stored[0] > stored[1] + blocks * 4 * 4 * 32 * 32 * width


@pytest.mark.slow
def test_models_of_ones_own_load_in_a_process_that_imports_only_highnoon(
    trained: hn.HSMN, saved: pathlib.Path, package: pathlib.Path, corpus: str, tmp_path: pathlib.Path
) -> None:
    family = hn.create_model("convolutional", num_layers=2, dtype="float32")
    family.build()
    train(family, corpus)
    assert loss_of(family, "the number 7 squared") < np.log(family.vocab_size) - 0.5
    folder = hn.save_model(family, tmp_path / "family")
    description = json.loads((folder / "config.json").read_text())
    assert description["family"] == "convolutional" and "guest_family" not in json.dumps(description)
    np.save(tmp_path / "ids.npy", IDS)
    subprocess.run(
        [sys.executable, "-c", LOADER, str(tmp_path / "ids.npy"), str(saved), str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(package), *sys.path])},
        check=True,
    )
    for model, path in ((trained, saved), (family, folder)):
        np.testing.assert_array_equal(np.load(f"{path}.npy"), np.asarray(model(IDS)))
