"""TFRecord files of `tf.train.Example`; TensorFlow is imported when one is read."""

from __future__ import annotations

import os
from collections.abc import Iterator

from highnoon.data.bad_rows import BadRowError, BadRows
from highnoon.data.formats.file_row import FileRow, record_rows
from highnoon.data.formats.tensorflow_example import example_values
from highnoon.data.opening import local_file
from highnoon.data.read_options import ReadOptions
from highnoon.data.remote import FilePath

_BATCH_ROWS = 256
_READ_BYTES = 1 << 20


def read_tfrecord(path: FilePath, options: ReadOptions, bad: BadRows) -> Iterator[FileRow]:
    """Yields the examples of a TFRecord file; a remote or packed one is copied to a temporary file first.

    Raises:
        BadRowError: a damaged record, after which the file cannot be read on; or, unless bad rows are
            skipped, a record that is no example.
    """
    with local_file(path) as file:
        yield from record_rows(path, _records(path, os.fspath(file)), example_values, bad)


def _records(path: FilePath, file: str) -> Iterator[bytes]:
    """The records; those before a damaged one are read again singly, to name it and lose no other."""
    import tensorflow as tf

    number = 0
    records = tf.data.TFRecordDataset(file, buffer_size=_READ_BYTES)
    try:
        for batch in records.batch(_BATCH_ROWS).as_numpy_iterator():
            yield from batch.tolist()
            number += len(batch)
        return
    except tf.errors.DataLossError:
        singly = records.skip(number).as_numpy_iterator()
    try:
        for record in singly:
            number += 1
            yield record
    except tf.errors.DataLossError as error:
        place = f"{path} row {number + 1}"
        reason = error.message.rpartition("}} ")[2].partition(" [")[0]
        raise BadRowError(f"{place}: damaged, or no TFRecord file ({reason}); fetch or write it again",
                          "rest of a damaged file", place) from error
