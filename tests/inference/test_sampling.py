"""The choice of the next token."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops
from scipy import stats

from highnoon.inference.sampling import Sampling, resolve_seed, uniforms_for

LOGITS = np.random.default_rng(1).normal(scale=1.5, size=(1, 12)).astype("float32")
DRAWS = 20_000


def expected_shares(sampling: Sampling, seen: np.ndarray) -> np.ndarray:
    """The documented distribution, in plain NumPy."""
    logits = LOGITS[0].astype("float64")
    penalty = sampling.repetition_penalty
    logits = np.where(seen, np.where(logits > 0, logits / penalty, logits * penalty), logits)
    shares = np.exp(logits / sampling.temperature)
    order = np.argsort(-shares)
    if sampling.top_k:
        shares[order[sampling.top_k :]] = 0
    shares /= shares.sum()
    masses = np.cumsum(shares[order])
    shares[order[np.concatenate([[False], masses[:-1] >= sampling.top_p])]] = 0
    return shares / shares.sum()


def drawn_counts(sampling: Sampling, seen: np.ndarray) -> np.ndarray:
    uniforms = uniforms_for(7, [0], DRAWS)[0]
    logits, seen = np.repeat(LOGITS, DRAWS, axis=0), np.repeat(seen[None], DRAWS, axis=0)
    drawn = sampling.form(12).next_tokens(ops.convert_to_tensor(logits), uniforms, seen, sampling.values)
    return np.bincount(ops.convert_to_numpy(drawn), minlength=12)


@pytest.mark.parametrize("sampling", [
    Sampling(top_k=0), Sampling(temperature=0.5, top_k=None), Sampling(temperature=2.0, top_k=5),
    Sampling(top_k=0, top_p=0.7), Sampling(top_k=6, top_p=0.8, temperature=1.3),
    Sampling(top_k=0, repetition_penalty=1.8),
], ids=repr)
def test_draws_fit_the_documented_distribution(sampling: Sampling) -> None:
    seen = np.arange(12) % 2 == 0
    shares, counts = expected_shares(sampling, seen), drawn_counts(sampling, seen)
    assert counts[shares == 0].sum() == 0
    possible = shares > 0
    assert stats.chisquare(counts[possible], DRAWS * shares[possible]).pvalue > 0.01
    if sampling != Sampling(top_k=0):
        plain = expected_shares(Sampling(top_k=0), seen)
        assert stats.chisquare(counts, DRAWS * plain).pvalue < 1e-6


@pytest.mark.parametrize("sampling", [
    Sampling(temperature=0), Sampling(top_k=1), Sampling(temperature=0, top_p=0.1),
], ids=repr)
def test_temperature_0_and_top_1_take_the_most_likely_token(sampling: Sampling) -> None:
    counts = drawn_counts(sampling, np.zeros(12, bool))
    assert counts[LOGITS[0].argmax()] == DRAWS


@pytest.mark.parametrize("sampling", [
    Sampling(temperature=0), Sampling(top_k=0), Sampling(top_k=6), Sampling(top_k=0, repetition_penalty=2.0),
], ids=repr)
def test_only_the_first_ids_are_drawn(sampling: Sampling) -> None:
    logits = np.sort(LOGITS, axis=1)
    seen = np.zeros_like(logits, bool)
    uniforms = np.array([0.999], "float32")
    assert sampling.form(12).next_tokens(logits, uniforms, seen, sampling.values)[0] >= 5
    assert sampling.form(5).next_tokens(logits, uniforms, seen, sampling.values)[0] < 5


def test_a_penalty_acts_on_the_greedy_choice_too() -> None:
    seen = np.arange(12) == LOGITS[0].argmax()
    counts = drawn_counts(Sampling(temperature=0, repetition_penalty=50.0), seen)
    assert counts[np.argsort(-LOGITS[0])[1]] == DRAWS


def test_a_row_has_numbers_of_its_own() -> None:
    together = uniforms_for(3, [0, 1, 2], 10)
    np.testing.assert_array_equal(uniforms_for(3, [2], 40)[0, :10], together[2])
    assert len(np.unique(together)) == 30
    assert not np.array_equal(uniforms_for(4, [0], 10)[0], together[0])


def test_a_seed_of_none_follows_keras() -> None:
    keras.utils.set_random_seed(5)
    first = [resolve_seed(None), resolve_seed(None)]
    keras.utils.set_random_seed(5)
    assert [resolve_seed(None), resolve_seed(None)] == first
    assert first[0] != first[1]


@pytest.mark.parametrize("kwargs", [
    {"temperature": -1.0}, {"temperature": float("nan")}, {"temperature": float("inf")}, {"top_k": -1},
    {"top_k": 2.5}, {"top_p": 0.0}, {"top_p": 1.5}, {"repetition_penalty": 0.0},
])
def test_arguments_out_of_range_are_refused(kwargs: dict) -> None:
    with pytest.raises(ValueError, match=f"`{next(iter(kwargs))}` must be"):
        Sampling(**kwargs)


@pytest.mark.parametrize("seed", [-1, 0.5, True])
def test_a_seed_that_is_no_whole_number_is_refused(seed: object) -> None:
    with pytest.raises(ValueError, match="`seed` must be"):
        resolve_seed(seed)
