"""Turns are shared out exactly, and any index in them is found at once."""

from __future__ import annotations

import numpy as np
import pytest

from highnoon.data import DataError
from highnoon.data.sequences.mixture import CYCLE_TURNS, Mixture


@pytest.mark.parametrize(
    "weights",
    [
        [0.5, 0.3, 0.2],
        [1 / 3, 1 / 3, 1 / 3],
        [0.999, 0.001],
        [0.123456, 0.876544],
        [0.05] * 20,
        [1.0],
    ],
)
def test_any_window_of_1000_turns_holds_the_weights_to_one_percent(weights: list[float]) -> None:
    turns = Mixture(weights).sources(np.arange(2 * CYCLE_TURNS + 500))
    for source, weight in enumerate(weights):
        taken = np.concatenate(([0], np.cumsum(turns == source)))
        fractions = (taken[1000:] - taken[:-1000]) / 1000
        assert np.abs(fractions - weight).max() <= 0.01


def test_taken_counts_the_turns_before() -> None:
    mixture = Mixture([0.6, 0.15, 0.25])
    turns = np.arange(CYCLE_TURNS + 3000)
    sources = mixture.sources(turns)
    for source in range(3):
        expected = np.concatenate(([0], np.cumsum(sources == source)[:-1]))
        assert np.array_equal(mixture.taken(turns, source), expected)


def test_far_positions_are_found_at_once() -> None:
    far = np.array([10**12])
    assert Mixture([0.7, 0.3]).taken(far, 0)[0] == 7 * 10**11


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([0.5, 0.4], r"\[0\.5, 0\.4\] sum to 0\.9"),
        ([0.5, 0.500002], "sum to 1"),
        ([1.5, -0.5], "above 0"),
        ([1.0, 0.0], "above 0"),
        ([], "above 0"),
    ],
)
def test_weights_that_are_not_fractions_are_an_error(weights: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Mixture(weights)


def test_rounding_of_weights_is_accepted() -> None:
    Mixture([0.1] * 10)
    Mixture([0.5, 0.5000005])
