"""Pure functions of logits against naive NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from highnoon.inference.decoding.logits import draw, keep_top_p, penalize_repetition, top_k_candidates

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(scale=2.0, size=(4, 30)).astype("float32")


def softmax(row: np.ndarray) -> np.ndarray:
    shares = np.exp(row - row.max())
    return shares / shares.sum()


def test_the_penalty_lowers_seen_tokens_of_either_sign_and_no_other() -> None:
    seen = RNG.random(LOGITS.shape) < 0.5
    expected = LOGITS.copy()
    for place in zip(*np.nonzero(seen), strict=True):
        expected[place] = LOGITS[place] / 1.5 if LOGITS[place] > 0 else LOGITS[place] * 1.5
    penalized = ops.convert_to_numpy(penalize_repetition(LOGITS, seen, 1.5))
    np.testing.assert_allclose(penalized, expected, rtol=1e-6)
    assert (penalized[seen] < LOGITS[seen]).all()


@pytest.mark.parametrize("top_k", [1, 7, 30, 99])
def test_top_k_gives_the_largest_logits_in_order_with_their_ids(top_k: int) -> None:
    values, ids = (ops.convert_to_numpy(part) for part in top_k_candidates(LOGITS, top_k))
    expected = np.argsort(-LOGITS, axis=1, kind="stable")[:, :top_k]
    np.testing.assert_array_equal(ids, expected)
    np.testing.assert_array_equal(values, np.take_along_axis(LOGITS, expected, axis=1))


@pytest.mark.parametrize("top_p", [1e-6, 0.3, 0.9, 1.0])
def test_the_nucleus_is_the_fewest_tokens_with_the_mass(top_p: float) -> None:
    ordered = -np.sort(-LOGITS, axis=1)
    kept = np.isfinite(ops.convert_to_numpy(keep_top_p(ordered, top_p)))
    for row, is_kept in zip(ordered, kept, strict=True):
        masses = np.cumsum(softmax(row))
        size = next((n for n in range(1, 31) if masses[n - 1] >= top_p), 30)
        assert is_kept.sum() == size
        assert is_kept[:size].all()


def test_a_draw_inverts_the_distribution_function() -> None:
    uniforms = RNG.random(4).astype("float32")
    expected = [
        np.searchsorted(np.cumsum(softmax(row)), u, side="right")
        for row, u in zip(LOGITS, uniforms, strict=True)
    ]
    assert ops.convert_to_numpy(draw(LOGITS, uniforms)).tolist() == expected


def test_what_has_no_mass_is_never_drawn() -> None:
    logits = np.full((3, 5), -np.inf, "float32")
    logits[:, [1, 3]] = 0.0
    uniforms = np.array([0.0, 0.5, np.nextafter(np.float32(1), np.float32(0))], "float32")
    assert ops.convert_to_numpy(draw(logits, uniforms)).tolist() == [1, 3, 3]


def test_the_largest_uniform_stays_inside_a_large_vocabulary() -> None:
    logits = RNG.normal(size=(1, 60_000)).astype("float32")
    largest = np.array([np.nextafter(np.float32(1), np.float32(0))], "float32")
    assert 59_000 < int(ops.convert_to_numpy(draw(logits, largest))[0]) < 60_000
