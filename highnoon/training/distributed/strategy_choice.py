"""The strategy that a trainer runs under."""

from __future__ import annotations

import tensorflow as tf

from highnoon.config import ConfigError
from highnoon.training.distributed.cluster_config import ClusterConfig
from highnoon.training.distributed.multi_worker import multi_worker_strategy

_REFUSED = {
    "ParameterServerStrategy": "its workers update the weights each in its own time, so that no run can be "
    "repeated or compared with one device",
    "CentralStorageStrategy": "Keras 3 optimizers fail under it as soon as they accumulate or scale the loss",
}
INSTEAD = "use MirroredStrategy for the devices of one machine, or MultiWorkerMirroredStrategy for several"


def resolve_strategy(strategy: str | tf.distribute.Strategy | None = "auto") -> tf.distribute.Strategy:
    """Returns the strategy to train under.

    `"auto"` is, in this order: the strategy whose scope is open; MultiWorkerMirroredStrategy where
    `TF_CONFIG` or torchrun's environment names several workers; MirroredStrategy where TensorFlow sees
    several GPUs; else TensorFlow's default, one device. None is the open scope's strategy, or the default.
    The strategy of several workers must be made before TensorFlow's first operation, thus before the model;
    a second call returns the same.

    Args:
        strategy: `"auto"`, a strategy, or None.

    Raises:
        ConfigError: a strategy that cannot give the weights of one device, an environment that describes no
            possible cluster, or TensorFlow started too early.

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
    """Raises ConfigError, with the reason, for a strategy (or its class name) that is not supported."""
    names = [strategy] if isinstance(strategy, str) else [kind.__name__ for kind in type(strategy).__mro__]
    for name in names:
        for refused, reason in _REFUSED.items():
            if name.startswith(refused):
                raise ConfigError(f"{refused} is not supported: {reason}; {INSTEAD}")
