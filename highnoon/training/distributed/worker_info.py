"""The rank of this process in the cluster."""

from __future__ import annotations

from typing import Any

from highnoon.config import ConfigError
from highnoon.training.distributed.cluster_config import ClusterConfig


def get_worker_info() -> dict[str, Any]:
    """Describes this worker, from `TF_CONFIG` or torchrun's environment.

    Returns:
        `is_distributed`, `is_chief`, `worker_index` (the rank), `num_workers`, `address` and `cluster_spec`
        (as in `TF_CONFIG`); the last two are None for a single process.

    Raises:
        ConfigError: The environment describes an invalid cluster.

    Example:

    ```python
    info = get_worker_info()
    assert info["is_chief"] == (info["worker_index"] == 0)
    ```
    """
    cluster = ClusterConfig.from_environment()
    return {
        "is_distributed": cluster is not None,
        "is_chief": cluster is None or cluster.is_chief,
        "worker_index": cluster.rank if cluster else 0,
        "num_workers": cluster.num_workers if cluster else 1,
        "address": cluster.addresses[cluster.rank] if cluster else None,
        "cluster_spec": cluster.to_tf_config() if cluster else None,
    }


def validate_tf_config() -> tuple[bool, str]:
    """Validates `TF_CONFIG` from the environment, without network access.

    Returns:
        Whether it is valid, and a message: what it describes, or what is wrong.

    Example:

    ```python
    is_valid, message = validate_tf_config()
    assert is_valid, message
    ```
    """
    try:
        cluster = ClusterConfig.from_tf_config()
    except ConfigError as error:
        return False, str(error)
    if cluster is None:
        return True, "TF_CONFIG describes no cluster: one process trains"
    if cluster.num_workers == 1:
        return True, "TF_CONFIG names one worker: one process trains"
    return True, f"TF_CONFIG names {cluster.num_workers} workers; this is worker {cluster.rank}"
