"""Dropout by a hash: as frequent as asked, the same for a seed, and fresh for another."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from highnoon.layers.hatching.neuron_dropout import neuron_dropout
from highnoon.testing.compiled import compiled_forms

SHAPE = (4, 3, 50, 201)


def dropped(seed: tuple[int, int], rate: float = 0.1, compiled: bool = False) -> np.ndarray:
    x = ops.ones(SHAPE)
    run = lambda x: neuron_dropout(x, rate, np.array(seed, "uint32"))  # noqa: E731
    return ops.convert_to_numpy((compiled_forms(run)["xla"] if compiled else run)(x))


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5])
def test_the_fraction_and_the_scale_are_those_of_the_rate(rate: float) -> None:
    y = dropped((3, 7), rate)
    assert abs((y == 0).mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / y.size) + 1e-9
    np.testing.assert_allclose(y[y != 0], 1 / (1 - rate), rtol=1e-6)


def test_a_seed_decides_and_compiling_changes_nothing() -> None:
    y = dropped((3, 7))
    np.testing.assert_array_equal(dropped((3, 7), compiled=True), y)
    kept = 0.9**2 + 0.1**2
    for other in ((4, 7), (3, 8), (7, 3)):  # agreement as of independent masks
        assert abs(((dropped(other) == 0) == (y == 0)).mean() - kept) < 0.005


def test_neighbors_are_dropped_independently() -> None:
    is_dropped = dropped((3, 7)) == 0
    for axis in range(4):
        both = np.roll(is_dropped, 1, axis=axis) & is_dropped
        assert abs(both.mean() - 0.01) < 0.002
