"""Models of Keras that know nothing of this package train as they are, with the inputs that they have."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import highnoon as hn
from highnoon.config import ConfigError
from tests.training.optimizers.conftest import largest_difference

QUIET = {"save_checkpoints": False, "log_dir": None, "verbose": False}
IDS = np.ones((1, 4), np.int32)


def layers() -> tuple[keras.layers.Layer, keras.layers.Layer]:
    return keras.layers.Embedding(263, 8, name="embedding"), keras.layers.Dense(263, name="head")


def functional(form: str) -> keras.Model:
    embedding, head = layers()
    inputs = keras.Input((None,), dtype="int32", name="my_ids" if form == "named" else "token_ids")
    outputs = head(embedding(inputs))
    return keras.Model({"named": {"my_ids": inputs}, "one": inputs, "list": [inputs]}[form], outputs)


class OnArray(keras.Model):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = layers()

    def call(self, x):
        return self.head(self.embedding(x))


class OnDict(OnArray):
    def call(self, inputs):
        return (
            super().call(inputs["token_ids"]) * keras.ops.cast(inputs["padding_mask"], "float32")[..., None]
        )


def subclassed(cls: type[keras.Model], inputs: object) -> keras.Model:
    model = cls()
    model(inputs)
    return model


MODELS = {
    "functional, one input": lambda: functional("one"),
    "functional, a list": lambda: functional("list"),
    "functional, an input of another name": lambda: functional("named"),
    "sequential": lambda: keras.Sequential([keras.Input((None,), dtype="int32"), *layers()]),
    "subclassed, on an array": lambda: subclassed(OnArray, IDS),
    "subclassed, on a dict": lambda: subclassed(OnDict, {"token_ids": IDS, "padding_mask": IDS > 0}),
}


QUICK = ("functional, an input of another name", "subclassed, on an array")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in MODELS]
)
def test_a_plain_model_trains_and_is_left_as_it_was(name, make_trainer, recwarn):
    keras.utils.set_random_seed(0)
    model = MODELS[name]()
    before = keras.models.clone_model(model) if name.startswith("functional") else None
    weights = [keras.ops.convert_to_numpy(weight) for weight in model.weights]
    trainer = make_trainer("adam", steps=2, model=model, learning_rate=1e-2)
    summary = trainer.train(**QUIET)
    assert summary["total_steps"] == 2 and summary["best_val_loss"] < np.log(263) + 0.5
    assert all(not np.array_equal(a, b) for a, b in zip(weights, model.weights, strict=True))
    assert not model.compiled and not hasattr(model, "optimizer")
    assert before is None or largest_difference(before, model) > 0
    assert not [str(warning.message) for warning in recwarn if "structure" in str(warning.message)]


def test_a_compiled_model_can_be_fitted_after_the_run(make_trainer):
    model = functional("one")
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    own = model.optimizer
    make_trainer(keras.optimizers.Adam(1e-2), steps=1, model=model).train(**QUIET)
    assert model.optimizer is own
    model.fit(np.ones((4, 8), np.int32), np.ones((4, 8), np.int32), verbose=0)
    assert int(own.iterations) == 1


def test_a_model_that_was_not_built_says_what_to_do(lines):
    with pytest.raises(ConfigError, match="build it first"):
        hn.Trainer(OnArray(), max_seq_length=16).add_curriculum_stage("one", lines, steps=1).plan()
