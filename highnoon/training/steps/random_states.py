"""The random states of a model and of the process, put back after code that may draw."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import keras
import numpy as np
from keras.src.backend.common import global_state

from highnoon.training.steps.replicas import all_variables

# Keras offers no public way to its global random state that does not create one.
_GLOBAL_GENERATOR = "global_seed_generator"


@contextlib.contextmanager
def undisturbed_random_states(model: keras.Model) -> Iterator[None]:
    """Puts the random states of a model, Keras, NumPy and Python back at the end.

    The model's own are its variables that are no weights: states of seed generators and counters of layers.
    """
    weights = {id(weight) for weight in model.weights}
    states = [variable for variable in all_variables(model) if id(variable) not in weights]
    generator = global_state.get_global_attribute(_GLOBAL_GENERATOR)
    states += [] if generator is None else [generator.state]
    before = [keras.ops.convert_to_numpy(variable) for variable in states]
    of_numpy, of_python = np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        for variable, value in zip(states, before, strict=True):
            variable.assign(value)
        global_state.set_global_attribute(_GLOBAL_GENERATOR, generator)
        np.random.set_state(of_numpy)
        random.setstate(of_python)
