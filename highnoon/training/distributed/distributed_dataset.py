"""tf.data datasets that are split among replicas."""

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
    """Returns a dataset whose elements hold one batch for each replica.

    Args:
        dataset: A dataset of global batches, which are split among the replicas; or a function of an
            InputContext that returns the dataset of a worker, with batches for one replica, which is used
            unchanged.
        strategy: None for `resolve_strategy("auto")`.
        batch_size: Rows for each replica, at least 1. If given, `dataset` consists of single rows: they are
            optionally shuffled and batched to `batch_size * replicas`, and an incomplete last batch is
            dropped.
        shuffle: Whether to shuffle rows; only with `batch_size`.
        shuffle_buffer: Size of the shuffle buffer in rows.
        seed: Seed of the shuffle. It must be the same for all workers, which split one common order.

    Raises:
        ConfigError: `batch_size` is below 1, or is given together with a function.

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
            raise ConfigError("a function of an InputContext creates its own batches; leave out `batch_size`")
        return strategy.distribute_datasets_from_function(dataset)
    if batch_size is not None:
        if shuffle:
            dataset = dataset.shuffle(shuffle_buffer, seed=seed)
        dataset = dataset.batch(batch_size * strategy.num_replicas_in_sync, drop_remainder=True)
    options = tf.data.Options()
    # Sharding by file gives each worker other files, and fails if there are fewer files than workers.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return strategy.experimental_distribute_dataset(dataset.with_options(options))
