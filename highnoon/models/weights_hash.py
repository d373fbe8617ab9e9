"""The hash of a model's weights, by which a frozen model is known."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import keras
import numpy as np


def weights_hash(model: keras.Model) -> str:
    """Returns a hash of all weights of a model: values, shapes and types, in order, whatever their names."""
    return variables_hash(model.weights)


def variables_hash(variables: Sequence[keras.Variable]) -> str:
    """Returns a hash of the values of some variables, 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    for variable in variables:
        value = np.ascontiguousarray(keras.ops.convert_to_numpy(variable))
        digest.update(f"{variable.dtype} {value.shape};".encode())
        digest.update(value.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
