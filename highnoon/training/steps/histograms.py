"""Histograms of gradients and weights, computed on the device (TensorFlow only)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

BUCKETS = 30
COUNTS, EDGES = "histogram_counts", "histogram_edges"
"""Keys of a step's results."""


def histograms(measures: tf.Tensor, tensors: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
    """Returns a histogram of each tensor; zeros unless `measures` holds.

    Args:
        measures: Whether to compute them.
        tensors: Of any shape.

    Returns:
        The counts (tensors, 30) int32 of equal buckets, and the lowest and the highest value (tensors, 2)
        float32. Values that are not finite are left out.
    """

    def compute() -> list[tf.Tensor]:
        counts, edges = zip(*map(_histogram, tensors), strict=True)
        return [tf.stack(counts), tf.stack(edges)]

    def zeros() -> list[tf.Tensor]:
        return [tf.zeros((len(tensors), BUCKETS), tf.int32), tf.zeros((len(tensors), 2))]

    counts, edges = tf.cond(measures, compute, zeros)
    return {COUNTS: counts, EDGES: edges}


def histogram_rows(counts: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Returns one histogram as TensorBoard's rows (buckets, 3): left edge, right edge, count."""
    low, high = edges.astype(np.float64)
    bounds = np.linspace(low, high, BUCKETS + 1)
    return np.stack([bounds[:-1], bounds[1:], counts.astype(np.float64)], axis=-1)


def _histogram(tensor: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    values = tf.reshape(tf.cast(tensor, tf.float32), (-1,))
    values = tf.boolean_mask(values, tf.math.is_finite(values))
    is_empty = tf.equal(tf.size(values), 0)
    low = tf.where(is_empty, 0.0, tf.reduce_min(values))
    high = tf.where(is_empty, 0.0, tf.reduce_max(values))
    # Equal values would have no width.
    high = tf.maximum(high, low + 1e-6 * tf.maximum(tf.abs(low), 1e-30))
    edges = tf.stack([low, high])
    return tf.histogram_fixed_width(values, edges, BUCKETS), edges
