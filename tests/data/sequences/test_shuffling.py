"""The shuffle is a permutation, a formula, and even."""

from __future__ import annotations

import numpy as np

from highnoon.data.sequences.shuffling import shuffled


def test_it_is_a_permutation_fixed_by_its_seeds() -> None:
    values = np.arange(1000)
    order = shuffled(values, 42, 0)
    assert np.array_equal(np.sort(order), values)
    assert np.array_equal(order, shuffled(values, 42, 0))
    assert shuffled(np.arange(8), 42, 0).tolist() == [4, 0, 3, 5, 1, 6, 2, 7]
    for other in ((42, 1), (43, 0), (0, 42), (42,)):
        assert not np.array_equal(order, shuffled(values, *other))


def test_the_order_of_two_values_does_not_depend_on_the_others() -> None:
    order = shuffled(np.arange(1000), 7).tolist()
    part = shuffled(np.arange(0, 1000, 3), 7).tolist()
    assert part == [value for value in order if value % 3 == 0]


def test_positions_are_even() -> None:
    positions = np.array([np.flatnonzero(shuffled(np.arange(20), seed) == 0)[0] for seed in range(4000)])
    counts = np.bincount(positions, minlength=20)
    assert abs(counts - 200).max() < 60
