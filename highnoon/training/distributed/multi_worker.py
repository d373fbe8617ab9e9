"""The MultiWorkerMirroredStrategy of a process."""

from __future__ import annotations

import os

import tensorflow as tf

from highnoon.config import ConfigError
from highnoon.training.distributed.cluster_config import ClusterConfig

_made: dict[str, tf.distribute.Strategy] = {}


def multi_worker_strategy(cluster: ClusterConfig, communication: str = "auto") -> tf.distribute.Strategy:
    """Returns the MultiWorkerMirroredStrategy of the process, which the first call creates.

    The first call joins the cluster and waits for all workers. A worker that shares its host uses the GPUs of
    its `local_rank` only.

    Args:
        cluster: All workers, and which of them this process is; written to `TF_CONFIG`.
        communication: `"auto"`, `"ring"` (gRPC) or `"nccl"` (GPUs).

    Raises:
        ConfigError: TensorFlow has already run an operation, the strategy was created with another
            communication, or there are not enough GPUs.
    """
    if _made:
        [(made_with, strategy)] = _made.items()
        if communication not in ("auto", made_with):
            raise ConfigError(
                f"this process already has a MultiWorkerMirroredStrategy with communication {made_with!r}, "
                f"and TensorFlow allows one; received {communication!r}"
            )
        return strategy
    gpus = own_gpus(cluster)
    if communication == "nccl" and not gpus:
        raise ConfigError('communication "nccl" needs GPUs, and TensorFlow sees none; use "ring" or "auto"')
    # TensorFlow reads only TF_CONFIG, so it is also set if torchrun's variables described the cluster.
    os.environ["TF_CONFIG"] = cluster.to_json()
    options = tf.distribute.experimental.CommunicationOptions(
        implementation=tf.distribute.experimental.CommunicationImplementation(communication.upper())
    )
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
    except RuntimeError as error:
        if "program startup" not in str(error):
            raise
        raise ConfigError(
            "workers can join only before TensorFlow's first operation, and this process has already created "
            "a tensor, a model or an optimizer; call "
            "highnoon.training.distributed.resolve_strategy() first, and create the model within "
            "`with strategy.scope():`"
        ) from None
    _made[communication] = strategy
    return strategy


def own_gpus(cluster: ClusterConfig) -> list[tf.config.PhysicalDevice]:
    """Hides the GPUs of the other workers of this host and returns the GPUs of this one.

    Raises:
        ConfigError: The GPUs cannot be split evenly among the workers.
    """
    gpus = tf.config.list_physical_devices("GPU")
    num_local, local_rank = cluster.num_local_workers or 1, cluster.local_rank or 0
    if not gpus or num_local == 1:
        return gpus
    each, rest = divmod(len(gpus), num_local)
    if rest or not each:
        raise ConfigError(
            f"{num_local} workers on this host cannot share {len(gpus)} GPUs evenly; start as many workers "
            f'as GPUs, or one, or choose GPUs with CUDA_VISIBLE_DEVICES ("" trains on the processor)'
        )
    own = gpus[local_rank * each : (local_rank + 1) * each]
    try:
        tf.config.set_visible_devices(own, "GPU")
    except RuntimeError:
        pass  # TensorFlow has started; creating the strategy fails next, with the reason
    return own
