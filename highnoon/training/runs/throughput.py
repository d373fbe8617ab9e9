"""Tokens a second, time lost to data, and use of the machine, between log points."""

from __future__ import annotations

import time
from typing import Any

import keras
import numpy as np
import psutil
import tensorflow as tf

from highnoon.training.preflight.flops import flops_per_token, measure_peak_flops

_CALLS_HELD = 1000  # counts that are not looked at yet, so that nothing waits for them


class Throughput:
    """Counts tokens and waiting since the last report; time spent outside steps is left out.

    Args:
        model: Whose operations are counted; None leaves `train/flop_utilization` out, as does a model
            that is not of this package.
        num_replicas: Devices among which the tokens are divided.
    """

    def __init__(self, model: keras.Model | None = None, num_replicas: int = 1) -> None:
        self._model, self._num_replicas = model, num_replicas
        self._peak_flops: float | None = None
        self._row_length = 0
        self._tokens: list[Any] = []
        self._data_seconds = 0.0
        self._paused_seconds = 0.0
        self._since = time.perf_counter()

    def add(self, tokens: Any, data_seconds: float, row_length: int) -> None:
        """Counts a call.

        Args:
            tokens: On all replicas, of each step of a call; a tensor is not waited for.
            data_seconds: For which the call waited for its rows.
            row_length: Of its rows.
        """
        self._tokens.append(tokens)
        if len(self._tokens) == _CALLS_HELD:
            self._tokens = [sum(np.sum(counted) for counted in self._tokens)]
        self._data_seconds += data_seconds
        self._row_length = row_length

    def pause(self, seconds: float) -> None:
        """Leaves out time that an evaluation or a checkpoint took."""
        self._paused_seconds += seconds

    def report(self) -> dict[str, float]:
        """Returns the rates since the last report and starts again."""
        tokens = float(sum(np.sum(counted) for counted in self._tokens))
        seconds = max(time.perf_counter() - self._since - self._paused_seconds, 1e-9)
        rates = {
            "train/tokens_per_second": tokens / seconds,
            "train/data_wait_fraction": min(self._data_seconds / seconds, 1.0),
            "train/memory_bytes": _memory_bytes(),
        }
        flops = None if self._model is None else flops_per_token(self._model, self._row_length)
        if flops is not None and self._model is not None:
            if self._peak_flops is None:
                self._peak_flops = self._num_replicas * measure_peak_flops(self._model.compute_dtype)
            rates["train/flop_utilization"] = flops * tokens / seconds / self._peak_flops
        self._tokens = []
        self._data_seconds = self._paused_seconds = 0.0
        self._since = time.perf_counter()
        return rates


def _memory_bytes() -> float:
    """Memory in use on the first GPU, or without one by this process."""
    if tf.config.list_logical_devices("GPU"):
        return float(tf.config.experimental.get_memory_info("GPU:0")["current"])
    return float(psutil.Process().memory_info().rss)
