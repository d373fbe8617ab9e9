"""The distribution strategy of a trainer."""

from __future__ import annotations

import tensorflow as tf

from highnoon.config import ConfigError
from highnoon.training.distributed.cluster_config import ClusterConfig
from highnoon.training.distributed.multi_worker import multi_worker_strategy

_REFUSED = {
    "ParameterServerStrategy": "its workers update the weights asynchronously, so no run can be "
    "repeated or compared with one device",
    "CentralStorageStrategy": "Keras 3 optimizers fail under it when they accumulate or scale the loss",
}
INSTEAD = "use MirroredStrategy for the devices of one machine, or MultiWorkerMirroredStrategy for several"


def resolve_strategy(strategy: str | tf.distribute.Strategy | None = "auto") -> tf.distribute.Strategy:
    """Returns the strategy to train under.

    `"auto"` is, in this order: the strategy whose scope is active; MultiWorkerMirroredStrategy if
    `TF_CONFIG` or torchrun's variables describe several workers; MirroredStrategy if TensorFlow finds
    several GPUs; else TensorFlow's default, one device. None is the strategy of the active scope, or the
    default. The strategy of several workers must be created before TensorFlow's first operation, and so
    before the model; later calls return the same one.

    Args:
        strategy: `"auto"`, a strategy, or None.

    Raises:
        ConfigError: The strategy cannot give the weights of one device, the environment describes an invalid
            cluster, or TensorFlow was already initialized.

    Example:

    ```python
    strategy = resolve_strategy("auto")
    with strategy.scope():
        weight = tf.Variable(0.0)
    assert strategy.num_replicas_in_sync >= 1
    ```
    """
    if isinstance(strategy, str) and strategy != "auto":
        raise ConfigError(f'strategy must be "auto", a tf.distribute.Strategy or None; received {strategy!r}')
    if isinstance(strategy, str) and not tf.distribute.has_strategy():
        return _strategy_of_environment()
    if strategy is None or isinstance(strategy, str):
        strategy = tf.distribute.get_strategy()
    if not isinstance(strategy, tf.distribute.Strategy):
        raise ConfigError(
            f'strategy must be "auto", a tf.distribute.Strategy or None; received {type(strategy).__name__}'
        )
    refuse_inexact(strategy)
    return strategy


def _strategy_of_environment() -> tf.distribute.Strategy:
    cluster = ClusterConfig.from_environment()
    if cluster is not None:
        return multi_worker_strategy(cluster)
    if len(tf.config.list_logical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def refuse_inexact(strategy: tf.distribute.Strategy | str) -> None:
    """Raises ConfigError, with the reason, if a strategy (or its class name) is not supported."""
    names = [strategy] if isinstance(strategy, str) else [kind.__name__ for kind in type(strategy).__mro__]
    for name in names:
        for refused, reason in _REFUSED.items():
            if name.startswith(refused):
                raise ConfigError(f"{refused} is not supported: {reason}; {INSTEAD}")
