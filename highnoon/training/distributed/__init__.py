"""Training on several processes or devices: clusters, strategies, datasets, and lost workers.

`cluster_config` and `peer_watch` do not import TensorFlow, so that a launcher can use them.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "ClusterConfig": "cluster_config",
    "PeerWatch": "peer_watch",
    "WorkerLostError": "peer_watch",
    "create_cpu_strategy": "cpu_strategy",
    "get_distributed_dataset": "distributed_dataset",
    "get_worker_info": "worker_info",
    "resolve_strategy": "strategy_choice",
    "scaled_learning_rate": "learning_rate",
    "setup_cpu_threading": "cpu_threading",
    "use_device": "device_choice",
    "validate_tf_config": "worker_info",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'highnoon.training.distributed' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"highnoon.training.distributed.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
