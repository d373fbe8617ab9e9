"""Histograms of tensors: every finite number is in one bucket, and they are computed only when asked for."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from highnoon.training.steps.histograms import BUCKETS, COUNTS, EDGES, histogram_rows, histograms


def rows_of(values, measures=True):
    results = tf.function(histograms)(tf.constant(measures), [tf.constant(values, tf.float32)])
    return histogram_rows(results[COUNTS].numpy()[0], results[EDGES].numpy()[0])


def test_counts_are_those_of_numpy():
    values = np.random.default_rng(0).normal(size=(40, 30)).astype("float32")
    rows = rows_of(values)
    counts, edges = np.histogram(values, BUCKETS)
    np.testing.assert_allclose(rows[:, 0], edges[:-1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(rows[:, 1], edges[1:], rtol=1e-5, atol=1e-6)
    assert np.abs(rows[:, 2] - counts).sum() <= 2  # a value on an edge may be in either bucket


@pytest.mark.parametrize("value", [0.0, 3.0, -1e-6, 1e20])
def test_equal_values_are_counted_at_their_value(value):
    rows = rows_of([value] * 7)
    assert rows[:, 2].sum() == 7
    assert rows[0, 0] == pytest.approx(value, rel=1e-5) and rows[-1, 1] == pytest.approx(
        value, rel=1e-5, abs=1e-30
    )


def test_values_that_are_not_finite_are_left_out():
    assert rows_of([1.0, float("nan"), 2.0, float("inf"), -float("inf")])[:, 2].sum() == 2
    assert rows_of([float("nan")])[:, 2].sum() == 0


def test_nothing_is_counted_where_a_step_does_not_measure():
    assert not rows_of([1.0, 2.0], measures=False).any()
