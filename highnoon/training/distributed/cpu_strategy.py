"""Distribution strategies for CPUs, by name."""

from __future__ import annotations

import tensorflow as tf

from highnoon.config import ConfigError
from highnoon.training.distributed.cluster_config import ClusterConfig
from highnoon.training.distributed.multi_worker import multi_worker_strategy
from highnoon.training.distributed.strategy_choice import refuse_inexact, resolve_strategy

_CLASSES = {"parameter_server": "ParameterServerStrategy", "central_storage": "CentralStorageStrategy"}
STRATEGY_TYPES = ("auto", "multi_worker", "mirrored", "one_device")
COMMUNICATIONS = ("auto", "ring", "nccl")


def create_cpu_strategy(
    strategy_type: str = "auto",
    communication: str = "auto",
    cluster_config: ClusterConfig | None = None,
    num_ps: int = 2,
    variable_partitioner: str = "min_max",
) -> tf.distribute.Strategy:
    """Creates a strategy by name; with several workers, call it before any TensorFlow operation.

    Args:
        strategy_type: `"auto"` (as `resolve_strategy`), `"multi_worker"`, `"mirrored"` (over the logical
            CPUs, see `tf.config.set_logical_device_configuration`) or `"one_device"`.
            `"parameter_server"` and `"central_storage"` raise an error with the reason.
        communication: Between workers: `"auto"`, `"ring"` (gRPC) or `"nccl"` (GPUs).
        cluster_config: The workers; None to read `TF_CONFIG` or torchrun's environment.
        num_ps: Ignored; kept for compatibility.
        variable_partitioner: Ignored; kept for compatibility.

    Raises:
        ConfigError: The name is unknown, the strategy is not supported, `"multi_worker"` is used without
            several workers, or TensorFlow was already initialized.

    Example:

    ```python
    strategy = create_cpu_strategy("one_device")
    assert strategy.num_replicas_in_sync == 1
    ```
    """
    if strategy_type in _CLASSES:
        refuse_inexact(_CLASSES[strategy_type])
    _require("strategy_type", strategy_type, STRATEGY_TYPES)
    _require("communication", communication, COMMUNICATIONS)
    if strategy_type == "one_device":
        return tf.distribute.OneDeviceStrategy("/cpu:0")
    if strategy_type == "mirrored":
        processors = tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in processors])
    cluster = cluster_config or ClusterConfig.from_environment()
    if cluster is not None and cluster.num_workers > 1:
        return multi_worker_strategy(cluster, communication)
    if strategy_type == "multi_worker":
        raise ConfigError(
            "multi_worker needs several workers, and neither TF_CONFIG nor torchrun's environment describes "
            "them; start the program with `highnoon launch --workers N -- PROGRAM`"
        )
    return resolve_strategy("auto")


def _require(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{name} must be one of {', '.join(choices)}; received {value!r}")
