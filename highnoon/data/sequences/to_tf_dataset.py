"""Rows as a `tf.data.Dataset` for `model.fit`."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from highnoon.config import require_count, require_flag
from highnoon.data.document import DataError

LABELS, WEIGHTS = "labels", "loss_weights"
FEATURES = ("token_ids", "padding_mask", "segment_ids", "positions")


def rows_to_tf_dataset(
    rows: Any,
    batch_size: int = 8,
    epochs: int = 1,
    seed: int | None = None,
    features: Sequence[str] | None = None,
    drop_remainder: bool = False,
) -> Any:
    """Returns the rows of packed documents as a dataset of `(features, labels, sample_weight)`.

    The batches are a function of the rows, `seed` and the epoch, the same each time that the dataset is read.
    Several epochs, each in its own order, are read one after another: pass `epochs=` here, and
    `model.fit(dataset, epochs=n, steps_per_epoch=len(dataset) // n)`.

    Args:
        rows: `PackedRows`, or an object with `view(epoch)`, such as `StreamedRows`.
        batch_size: Rows in a batch.
        epochs: Epochs in the dataset.
        seed: Seed of the order; None takes that of the rows.
        features: The columns of the features: `token_ids`, `padding_mask` (1 at tokens), `segment_ids`,
            `positions`. None takes all where rows hold several documents, and otherwise `token_ids` and
            `padding_mask`, which any model reads.
        drop_remainder: Whether the smaller batch at the end of an epoch is left out.

    Raises:
        DataError: An argument is out of range, or there is no such column.
    """
    import tensorflow as tf

    require_count("batch_size", batch_size, error=DataError)
    require_count("epochs", epochs, error=DataError)
    require_flag("drop_remainder", drop_remainder, DataError)
    if seed is not None:
        require_count("seed", seed, least=0, error=DataError)
        rows = copy.copy(rows)
        rows.seed = seed
    if features is None:
        features = FEATURES if getattr(rows, "packing", True) else FEATURES[:2]
    if unknown := [name for name in features if name not in FEATURES]:
        raise DataError(f"`features` must be of {', '.join(FEATURES)}; received {unknown[0]!r}")
    num_rows = rows.view(0).num_rows
    num_batches = num_rows // batch_size if drop_remainder else -(-num_rows // batch_size)
    if not num_batches:
        raise DataError(f"`batch_size` is {batch_size} and there are {num_rows} rows; decrease it")

    def batches() -> Any:
        for epoch in range(epochs):
            view = rows.view(epoch)
            for number in range(num_batches):
                yield _example(view.read(number * batch_size, batch_size), features)

    shape = (batch_size if drop_remainder else None, rows.row_length)
    integers, floats = tf.TensorSpec(shape, tf.int32), tf.TensorSpec(shape, tf.float32)
    signature = (dict.fromkeys(features, integers), integers, floats)
    dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
    return dataset.apply(tf.data.experimental.assert_cardinality(epochs * num_batches))


def _example(batch: dict[str, Any], features: Sequence[str]) -> tuple[dict[str, Any], Any, Any]:
    columns = {**batch, "padding_mask": (batch["segment_ids"] > 0).astype(np.int32)}
    return {name: columns[name] for name in features}, batch[LABELS], batch[WEIGHTS]
