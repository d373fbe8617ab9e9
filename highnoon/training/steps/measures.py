"""Figures of gradients and weights that cost a pass over all of them (TensorFlow only)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf


def measured(
    measures: tf.Tensor,
    gradients: Sequence[tf.Tensor],
    grad_norm: tf.Tensor,
    loss_scale: tf.Tensor,
    before: Sequence[tf.Tensor],
    after: Sequence[tf.Tensor],
) -> dict[str, tf.Tensor]:
    """Returns figures of a step's gradient and update; zeros unless `measures` holds.

    Args:
        measures: Whether to compute them.
        gradients: Of the scaled loss.
        grad_norm: Their global norm, without the scale.
        loss_scale: The scale.
        before: The weights before the update.
        after: The weights after it.

    Returns:
        `grad_max`, `nan_count` and `inf_count` of the gradient, `weight_norm`, and `update_ratio`, the norm
        of the update over that of the weights.
    """
    names = ("grad_max", "nan_count", "inf_count", "weight_norm", "update_ratio")

    def measure() -> list[tf.Tensor]:
        weight_norm = tf.linalg.global_norm(before)
        faults = tf.cond(
            tf.math.is_finite(grad_norm),
            lambda: [tf.zeros(())] * 2,
            lambda: [_count(gradients, tf.math.is_nan), _count(gradients, tf.math.is_inf)],
        )
        change = tf.linalg.global_norm([new - old for new, old in zip(after, before, strict=True)])
        return [
            tf.reduce_max([tf.reduce_max(tf.abs(gradient)) for gradient in gradients]) / loss_scale,
            *faults,
            weight_norm,
            change / tf.maximum(weight_norm, 1e-12),
        ]

    values = tf.cond(measures, measure, lambda: [tf.zeros(())] * len(names))
    return dict(zip(names, values, strict=True))


def _count(tensors: Sequence[tf.Tensor], is_counted: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    return tf.add_n([tf.reduce_sum(tf.cast(is_counted(tensor), tf.float32)) for tensor in tensors])
