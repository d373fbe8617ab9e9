"""The choice of the next token."""

from __future__ import annotations

import dataclasses
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from scipy import stats

from highnoon.inference.decoding.sampling import Sampling, resolve_seed, uniforms_for

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


def penalty_state(sampling: Sampling, seen: np.ndarray) -> tuple[np.ndarray, ...]:
    return () if sampling.repetition_penalty == 1.0 else (seen,)


def drawn_counts(sampling: Sampling, seen: np.ndarray) -> np.ndarray:
    uniforms = uniforms_for(7, [0], DRAWS)[0]
    logits, seen = np.repeat(LOGITS, DRAWS, axis=0), np.repeat(seen[None], DRAWS, axis=0)
    form, values = sampling.form(12), sampling.values(12)
    drawn = form.next_tokens(ops.convert_to_tensor(logits), uniforms, penalty_state(sampling, seen), values)
    return np.bincount(ops.convert_to_numpy(drawn), minlength=12)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(top_k=0),
        Sampling(temperature=0.5, top_k=None),
        Sampling(temperature=2.0, top_k=5),
        Sampling(top_k=0, top_p=0.7),
        Sampling(top_k=6, top_p=0.8, temperature=1.3),
        Sampling(top_k=0, repetition_penalty=1.8),
    ],
    ids=repr,
)
def test_draws_fit_the_documented_distribution(sampling: Sampling) -> None:
    seen = np.arange(12) % 2 == 0
    shares, counts = expected_shares(sampling, seen), drawn_counts(sampling, seen)
    assert counts[shares == 0].sum() == 0
    possible = shares > 0
    assert stats.chisquare(counts[possible], DRAWS * shares[possible]).pvalue > 0.01
    if sampling != Sampling(top_k=0):
        plain = expected_shares(Sampling(top_k=0), seen)
        assert stats.chisquare(counts, DRAWS * plain).pvalue < 1e-6


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0),
        Sampling(top_k=1),
        Sampling(temperature=0, top_p=0.1),
    ],
    ids=repr,
)
def test_temperature_0_and_top_1_take_the_most_likely_token(sampling: Sampling) -> None:
    counts = drawn_counts(sampling, np.zeros(12, bool))
    assert counts[LOGITS[0].argmax()] == DRAWS


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0),
        Sampling(top_k=0),
        Sampling(top_k=6),
        Sampling(top_k=0, repetition_penalty=2.0),
    ],
    ids=repr,
)
def test_only_the_first_ids_are_drawn(sampling: Sampling) -> None:
    logits = np.sort(LOGITS, axis=1)
    uniforms = np.array([0.999], "float32")
    for num_ids in (12, 5):
        state = penalty_state(sampling, np.zeros((1, num_ids), bool))
        drawn = sampling.form(num_ids).next_tokens(logits, uniforms, state, sampling.values(num_ids))
        assert (drawn[0] >= 5) == (num_ids == 12)


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


@pytest.mark.parametrize(
    "kwargs",
    [
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"top_k": -1},
        {"top_k": 2.5},
        {"top_p": 0.0},
        {"top_p": 1.5},
        {"repetition_penalty": 0.0},
    ],
)
def test_arguments_out_of_range_are_refused(kwargs: dict) -> None:
    with pytest.raises(ValueError, match=f"`{next(iter(kwargs))}` must be"):
        Sampling(**kwargs)


@pytest.mark.parametrize("seed", [-1, 0.5, True])
def test_a_seed_that_is_no_whole_number_is_refused(seed: object) -> None:
    with pytest.raises(ValueError, match="`seed` must be"):
        resolve_seed(seed)


@functools.cache
def compiled(form):
    """By form, so that few are compiled; by XLA, which flushes small numbers to 0."""
    return tf.function(form.next_tokens, jit_compile=True, autograph=False)


def chosen(logits: np.ndarray, uniforms=(0.0, 0.3, 0.999999), **asked) -> list[int]:
    sampling = Sampling(**asked)
    rows = np.repeat(np.asarray([logits], np.float32), len(uniforms), axis=0)
    choose = compiled(dataclasses.replace(sampling.form(len(logits)), top_k=min(int(sampling.top_k or 0), 4)))
    state = penalty_state(sampling, np.ones_like(rows, bool))
    drawn = choose(rows, np.asarray(uniforms, np.float32), state, sampling.values(len(logits)))
    return np.asarray(drawn).tolist()


EXTREMES = [
    {"temperature": 1e-39},
    {"temperature": 1e-300},
    {"temperature": 5e-324},
    {"temperature": 1e-38},
    {"temperature": 1e39},
    {"temperature": 1e300},
    {"top_p": 1e-45},
    {"top_p": 5e-324},
    {"top_p": 1e-39},
    {"repetition_penalty": 1e-39},
    {"repetition_penalty": 5e-324},
    {"repetition_penalty": 1e300},
    {"temperature": 1e-300, "repetition_penalty": 1e300},
    {"temperature": 1e300, "top_p": 1e-300},
    {"top_k": 10**30},
    {"top_k": 0, "temperature": 1e-39, "top_p": 0.5},
]


@pytest.mark.parametrize("asked", EXTREMES, ids=str)
def test_extreme_numbers_give_possible_tokens(asked) -> None:
    for top_k in (0, 3):
        for logits in ([-9, -3, -np.inf, -3.5], [1e30, -np.inf, 3, -1e30], [0, -np.inf, 0, 0]):
            drawn = chosen(np.asarray(logits), **{"top_k": top_k} | asked)
            assert all(logits[token] > -np.inf for token in drawn) and min(drawn) >= 0


def test_a_tiny_temperature_takes_the_most_likely_token() -> None:
    for top_k in (0, 3):
        assert chosen(np.asarray([-9, -3, -np.inf, -3.5]), temperature=1e-39, top_k=top_k) == [1, 1, 1]
        assert chosen(np.asarray([0, 3e38, 2, 3]), temperature=1e-5, top_k=top_k) == [1, 1, 1]


@pytest.mark.parametrize("asked", [{"top_k": 0}, {"top_k": 2}, {"temperature": 0}, {"top_p": 0.5}], ids=str)
def test_a_logit_of_inf_is_certain_and_no_number_at_all_gives_no_token(asked) -> None:
    assert chosen(np.asarray([0, 5, np.inf, -np.inf]), **asked) == [2, 2, 2]
    for nothing in (np.nan, -np.inf):
        assert chosen(np.full(4, nothing), **asked) == [-1, -1, -1]


@pytest.mark.parametrize("name", ["temperature", "top_k", "top_p", "repetition_penalty"])
@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), np.float32("inf"), np.float64("nan"), -1, "1", True, [1], 10**400, 1j],
)
def test_what_is_no_finite_number_in_range_is_refused_in_one_line(name, value) -> None:
    with pytest.raises(ValueError, match=f"`{name}` must be") as caught:
        Sampling(**{name: value})
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200
