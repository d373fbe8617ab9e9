"""What a compiled function of a model has fixed."""

from __future__ import annotations

import gc
import weakref

import keras
import numpy as np
import pytest

from highnoon.inference.model_structure import ModelStructure


class Stack(keras.Model):
    """Layers in a list, one of them within another layer."""

    def __init__(self):
        super().__init__()
        inner = keras.Sequential([keras.layers.Dense(4, activation="relu", name="inner")])
        inner.build((None, 4))
        self.parts = [keras.layers.Dense(4, name="first"), inner, keras.layers.Embedding(9, 4, name="last")]
        self.parts[0].build((None, 4))
        self.parts[2].build((None,))
        self.built = True

    def call(self, x):
        return self.parts[1](self.parts[0](x))


def replace_layer(model):
    model.parts[0] = keras.layers.Dense(4, name="first")
    model.parts[0].build((None, 4))


def replace_variable(model):
    variable = model.parts[0].bias
    variable._initialize(np.ones(4, "float32"))


def set_activation(model):
    model.parts[1].layers[0].activation = keras.activations.gelu


def set_alpha(model):
    model.parts[0].enable_lora(2)
    model.parts[0].lora_alpha = 5.0


CHANGES = {
    "lora of one layer": lambda model: model.parts[1].layers[0].enable_lora(2),
    "lora of an embedding": lambda model: model.parts[2].enable_lora(2),
    "another alpha": set_alpha,
    "int8": lambda model: model.quantize("int8"),
    "int4 of one layer": lambda model: model.parts[0].quantize("int4"),
    "a dtype policy": lambda model: setattr(model.parts[0], "dtype_policy", "mixed_bfloat16"),
    "a layer in the place of another": replace_layer,
    "fewer layers": lambda model: setattr(model, "parts", model.parts[:1]),
    "another order of layers": lambda model: model.parts.reverse(),
    "a variable in the place of another": replace_variable,
    "another activation": set_activation,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_change_of_what_a_graph_has_fixed_is_noticed(change):
    model = Stack()
    before = ModelStructure(model)
    assert before.matches(model)
    change(model)
    assert not before.matches(model)
    assert ModelStructure(model).matches(model)


def test_new_values_calls_and_a_new_loss_are_no_change():
    model = Stack()
    before = ModelStructure(model)
    for weight in model.weights:
        weight.assign(weight + 1)
    model(np.ones((2, 4), "float32"))
    model.compile(optimizer="adam", loss="mse")
    model.trainable = False
    assert before.matches(model)


def test_merged_factors_are_a_change_where_the_layer_forgets_them():
    layer = keras.layers.Dense(4)
    layer.build((None, 4))
    layer.enable_lora(2)
    before = ModelStructure(layer)
    layer.lora_enabled = False
    assert not before.matches(layer)


def test_a_snapshot_does_not_keep_the_model_alive():
    model = Stack()
    before, reference = ModelStructure(model), weakref.ref(model)
    del model
    gc.collect()
    assert reference() is None
    assert not before.matches(Stack())
