"""Replicas of a model: whose rows are whose, and weights under a strategy (TensorFlow only)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from highnoon.training.distributed import ClusterConfig, PeerWatch

Batch = Mapping[str, np.ndarray]
FIRST_ROW, STOP = "first_row", "stop"
"""Keys of a step's input: how many rows of the global batch other replicas have before it, and whether its
process was asked to stop."""


class Replicas:
    """The devices that compute one step together.

    Args:
        strategy: A synchronous `tf.distribute.Strategy`; None for one device.
    """

    def __init__(self, strategy: tf.distribute.Strategy | None = None) -> None:
        self.strategy = strategy or tf.distribute.get_strategy()

    @property
    def count(self) -> int:
        """Replicas on all workers together."""
        return self.strategy.num_replicas_in_sync

    @property
    def num_workers(self) -> int:
        """Processes that take part."""
        resolver = self.strategy.cluster_resolver
        return max(1, len(resolver.cluster_spec().as_dict().get("worker", []))) if resolver else 1

    @property
    def is_chief(self) -> bool:
        """Whether this process writes what is written once: checkpoints, metrics, the screen."""
        resolver = self.strategy.cluster_resolver
        return resolver is None or self.num_workers == 1 or resolver.task_id == 0

    def read(
        self, read_rows: Callable[[int, int], Batch], rows_per_replica: int, wants_stop: bool = False
    ) -> Any:
        """Returns a step's input: each replica's rows, of which this process reads its own alone.

        Args:
            read_rows: Called with the first row of a replica, counted from the step's first, and how many;
                returns fewer where the data ends.
            rows_per_replica: Rows of one replica.
            wants_stop: Whether this process was asked to stop; the step tells all of them.
        """

        def rows_of(replica: int) -> dict[str, np.ndarray]:
            first = replica * rows_per_replica
            own = {FIRST_ROW: np.asarray(first, np.int32), STOP: np.asarray(wants_stop, np.float32)}
            return {**read_rows(first, rows_per_replica), **own}

        if self.count == 1:
            return rows_of(0)
        return self.strategy.experimental_distribute_values_from_function(
            lambda context: rows_of(context.replica_id_in_sync_group)
        )

    def split(self, batch: Batch, micro_batch_size: int) -> Any:
        """Returns a complete batch as a step's input, divided between the replicas at micro-batches."""
        num_micro_batches = -(-len(next(iter(batch.values()))) // micro_batch_size)
        return self.read(
            lambda first, count: {key: value[first : first + count] for key, value in batch.items()},
            -(-num_micro_batches // self.count) * micro_batch_size,
        )

    def local(self, value: Any) -> tuple[Any, ...]:
        """Returns the values of this process's replicas."""
        return self.strategy.experimental_local_results(value)

    def local_batch(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the first of this process's replicas' part of a batch."""
        return {
            name: self.local(value)[0] if isinstance(value, tf.distribute.DistributedValues) else value
            for name, value in batch.items()
        }

    def wait_for_all(self) -> None:
        """Returns once all processes have come here."""
        if self.num_workers > 1:
            tf.function(lambda: self.strategy.run(lambda: sum_replicas(tf.ones(()))))()

    def adopt(self, variables: Iterable[keras.Variable]) -> None:
        """Puts variables that were made elsewhere under the strategy, with their values.

        Functions that were traced before then hold variables that are no longer the model's.
        """
        for variable in variables:
            if not self.strategy.extended.variable_created_in_scope(variable.value):
                value = keras.ops.convert_to_numpy(variable)
                with self.strategy.scope():
                    variable._initialize(value)


def all_variables(model: keras.Model) -> list[keras.Variable]:
    """Returns a model's variables and those that its layers count up during a step."""
    counters = [v for layer in model._flatten_layers() for v in getattr(layer, "step_variables", [])]
    return [*model.variables, *counters]


def watch_peers(replicas: Replicas) -> contextlib.AbstractContextManager[Any]:
    """Returns the context in which the loss of a worker ends the others; one process needs none."""
    if replicas.num_workers == 1:
        return contextlib.nullcontext()
    return PeerWatch(ClusterConfig.from_environment())


def strategy_of(model: keras.Model) -> tf.distribute.Strategy | None:
    """Returns the strategy under which a model's weights were made; None for no strategy."""
    first = next(iter(model.variables), None)
    return getattr(first.value, "distribute_strategy", None) if first is not None else None


def sum_replicas(values: Any) -> Any:
    """Returns a nest's sums over all replicas; to be called in every replica."""
    if tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return values
    flat = tf.nest.flatten(values)
    summed = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, flat)
    return tf.nest.pack_sequence_as(values, summed)


def merged(variable: keras.Variable, before: Any, after: Any) -> Any:
    """Returns what a variable is after each replica changed it alone, by its `aggregation`.

    Sums add up what the replicas added, means are taken over them; else the first replica is right.
    """
    strategy = tf.distribute.get_strategy()
    if strategy.num_replicas_in_sync == 1:
        return after
    if variable.aggregation == "sum":
        return before + sum_replicas(after - before)
    if variable.aggregation == "mean":
        return sum_replicas(after) / tf.cast(strategy.num_replicas_in_sync, after.dtype)
    is_first = tf.equal(tf.distribute.get_replica_context().replica_id_in_sync_group, 0)
    return sum_replicas(tf.where(is_first, after, tf.zeros_like(after)))


def assign_all(variables: list[keras.Variable], values: list[Any]) -> None:
    """Gives variables values that are the same on every replica; to be called in every replica."""

    def assign(strategy: tf.distribute.Strategy, *values: Any) -> None:
        for variable, value in zip(variables, values, strict=True):
            strategy.extended.update(variable.value, lambda own, new: own.assign(new), args=(value,))

    tf.distribute.get_replica_context().merge_call(assign, args=tuple(values))
