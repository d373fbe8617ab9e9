"""The thread pools of TensorFlow."""

from __future__ import annotations

import os

import tensorflow as tf

from highnoon.config import ConfigError


def setup_cpu_threading(intra_op_threads: int | None = None, inter_op_threads: int | None = None) -> None:
    """Sets the sizes of TensorFlow's thread pools; call it before any TensorFlow operation.

    Args:
        intra_op_threads: Threads within one operation, at least 1. None for `TF_NUM_INTRAOP_THREADS`,
            which `highnoon launch` sets, or else the number of usable cores.
        inter_op_threads: Concurrent operations, at least 1. None for `TF_NUM_INTEROP_THREADS`, or else 2.

    Raises:
        ConfigError: A size is below 1, or TensorFlow has already started its pools.

    Example:

    ```python
    import subprocess, sys

    program = "from highnoon.training.distributed import setup_cpu_threading; setup_cpu_threading(2, 1)"
    subprocess.run([sys.executable, "-c", program], check=True)
    ```
    """
    pools = (
        (tf.config.threading.set_intra_op_parallelism_threads, intra_op_threads, "INTRAOP", _num_cores()),
        (tf.config.threading.set_inter_op_parallelism_threads, inter_op_threads, "INTEROP", 2),
    )
    for set_threads, num_threads, name, default in pools:
        if num_threads is None:
            num_threads = int(os.environ.get(f"TF_NUM_{name}_THREADS", default))
        if num_threads < 1:
            raise ConfigError(f"{name.lower()} needs at least 1 thread; received {num_threads}")
        try:
            set_threads(num_threads)
        except RuntimeError:
            raise ConfigError(
                "threads can be set only before TensorFlow's first operation; call setup_cpu_threading as "
                "the program's first step, or set TF_NUM_INTRAOP_THREADS and TF_NUM_INTEROP_THREADS"
            ) from None


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
