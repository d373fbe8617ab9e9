"""Floating point operations of training, and the peak of the machine."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable

import keras
import tensorflow as tf

_SIDE = {"CPU": 1024, "GPU": 8192, "TPU": 8192}
_REPEATS = 5


def flops_per_token(model: keras.Model, row_length: int) -> float | None:
    """Returns the floating point operations of the forward and backward pass for a token.

    Args:
        model: Any model.
        row_length: Tokens in a row.

    Returns:
        Operations, or None if the model has no `flops_per_token(row_length)`.
    """
    count = getattr(model, "flops_per_token", None)
    return None if count is None else count(row_length)


@functools.cache
def measure_peak_flops(dtype: str) -> float:
    """Returns the operations per second of a large matrix product on the first device.

    Args:
        dtype: The compute dtype of the model.
    """
    device = (tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU"))[0]
    side = _SIDE[device.device_type]
    with tf.device(device.name):
        matrix = tf.ones((side, side), dtype)
        fastest = float("inf")
        for _ in range(_REPEATS + 1):  # the first one warms up
            began = time.perf_counter()
            float(tf.linalg.matmul(matrix, matrix)[0, 0])
            fastest = min(fastest, time.perf_counter() - began)
    return 2.0 * side**3 / fastest


def seconds_per_token(model: keras.Model, row_lengths: Iterable[int], num_replicas: int) -> dict[int, float]:
    """Returns what a token would take if nothing but its products cost time, by row length.

    Args:
        model: The model; of one whose layers are not known nothing is returned.
        row_lengths: Tokens in rows.
        num_replicas: Devices that share the tokens.
    """
    flops = {length: flops_per_token(model, length) for length in set(row_lengths)}
    known = {length: count for length, count in flops.items() if count is not None}
    if not known:
        return {}
    peak = num_replicas * measure_peak_flops(model.compute_dtype)
    return {length: count / peak for length, count in known.items()}
