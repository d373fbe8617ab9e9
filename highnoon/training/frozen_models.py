"""The models that an objective reads and training never changes, known by the hash of their weights."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import keras

from highnoon.models.arrays import variable_arrays
from highnoon.training.objective import Objective


def weights_hash(model: keras.Model) -> str:
    """Returns a hash of a model's weights: their names, types, shapes and values."""
    return variables_hash(model.weights)


def variables_hash(variables: Sequence[keras.Variable]) -> str:
    """Returns a hash of some variables: their names, types, shapes and values."""
    state = hashlib.blake2b(digest_size=16)
    for name, array in variable_arrays(variables).items():
        state.update(f"{name} {array.dtype} {array.shape}\n".encode())
        state.update(array.tobytes())
    return state.hexdigest()


def frozen_hashes(objective: Objective) -> dict[str, str]:
    """Returns the hash of the weights of each of an objective's frozen models, by name."""
    return {name: weights_hash(model) for name, model in objective.frozen_models().items()}


def require_unchanged(objective: Objective, hashes: dict[str, str], where: str) -> None:
    """Checks that training has changed nothing of the frozen models.

    Args:
        objective: Reads the models.
        hashes: Of their weights before the training.
        where: What has been trained meanwhile.

    Raises:
        RuntimeError: the weights of one of them have changed.
    """
    for name, value in frozen_hashes(objective).items():
        if value != hashes[name]:
            raise RuntimeError(
                f"the weights of `{name}`, a frozen model of {type(objective).__name__}, changed during "
                f"{where}; nothing may assign to them: is a layer shared with the trained model?"
            )
