"""Data of tf.data, split among the replicas."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from highnoon.config import ConfigError
from highnoon.training.distributed.strategy_choice import resolve_strategy


def get_distributed_dataset(
    dataset: tf.data.Dataset | Callable[[tf.distribute.InputContext], tf.data.Dataset],
    strategy: tf.distribute.Strategy | None = None,
    batch_size: int | None = None,
    shuffle: bool = True,
    shuffle_buffer: int = 10000,
    seed: int = 0,
) -> tf.distribute.DistributedDataset:
    """Makes a dataset of which every element holds one batch a replica.

    Args:
        dataset: A dataset of global batches, of which every replica gets its share; or a function of an
            InputContext that returns a worker's own dataset, of one replica's batches, which is taken as it
            is.
        strategy: None takes `resolve_strategy("auto")`.
        batch_size: Rows of one replica, at least 1. Given, `dataset` holds single rows, which are shuffled
            if asked, batched to `batch_size * replicas`, and the incomplete rest dropped.
        shuffle: Whether to shuffle rows; with `batch_size` only.
        shuffle_buffer: Rows to draw from.
        seed: Of the shuffle. All workers must pass the same, since each keeps its share of one common order.

    Raises:
        ConfigError: batch_size below 1, or given together with a function.

    Example:

    ```python
    batches = get_distributed_dataset(tf.data.Dataset.range(8), batch_size=2, shuffle=False)
    assert next(iter(batches)).numpy().tolist() == [0, 1]
    ```
    """
    strategy = strategy or resolve_strategy("auto")
    if batch_size is not None and batch_size < 1:
        raise ConfigError(f"`batch_size` must be at least 1; received {batch_size}")
    if not isinstance(dataset, tf.data.Dataset):
        if batch_size is not None:
            raise ConfigError("a function of an InputContext makes its own batches; leave out `batch_size`")
        return strategy.distribute_datasets_from_function(dataset)
    if batch_size is not None:
        if shuffle:
            dataset = dataset.shuffle(shuffle_buffer, seed=seed)
        dataset = dataset.batch(batch_size * strategy.num_replicas_in_sync, drop_remainder=True)
    options = tf.data.Options()
    # Sharding by files gives each worker other files, and fails where there are fewer files than workers.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return strategy.experimental_distribute_dataset(dataset.with_options(options))
