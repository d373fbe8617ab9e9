"""TFRecord files of `tf.train.Example`; TensorFlow is imported when a file is read."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

from highnoon.data.bad_records import BadRecordError, BadRecords
from highnoon.data.formats.file_record import FileRecord, decoded_records
from highnoon.data.formats.tensorflow_example import example_values
from highnoon.data.reading.opening import local_file
from highnoon.data.reading.remote import FilePath
from highnoon.data.records.read_options import ReadOptions

_BATCH_RECORDS = 256
_BATCH_BYTES = 64 << 20
_READ_BYTES = 1 << 20

# A record is its length, the checksum of the length, its bytes and their checksum.
_LENGTH = struct.Struct("<Q")
_FRAME_BYTES = _LENGTH.size + 4 + 4


def read_tfrecord(path: FilePath, options: ReadOptions, bad: BadRecords) -> Iterator[FileRecord]:
    """Yields the examples of a TFRecord file; a remote or compressed file is copied to a temporary file
    first.

    Raises:
        BadRecordError: If a record is damaged or longer than `max_line_bytes`; reading the file ends there.
            Or, unless bad records are skipped, if a record is not an example.
    """
    with local_file(path) as file:
        records = _records(path, os.fspath(file), options.max_line_bytes)
        yield from decoded_records(path, records, example_values, bad)


def _records(path: FilePath, file: str, max_bytes: int) -> Iterator[bytes]:
    """Yields the records; near damage they are read one by one, to find the damaged one and lose no other.

    TensorFlow prefetches and allocates as many bytes as a record's length field says: the lengths are checked
    first.
    """
    import tensorflow as tf

    sound = _sound_records(file, max_bytes)
    number = 0
    records = tf.data.TFRecordDataset(file, buffer_size=_READ_BYTES).take(sound.num_records)
    batch_records = max(1, min(_BATCH_RECORDS, _BATCH_BYTES // max(1, sound.longest)))
    try:
        for batch in records.batch(batch_records).as_numpy_iterator():
            yield from batch.tolist()
            number += len(batch)
    except tf.errors.OpError:
        try:
            for record in records.skip(number).as_numpy_iterator():
                number += 1
                yield record
        except tf.errors.OpError as error:
            reason = error.message.rpartition("}} ")[2].partition(" [")[0]
            raise _damaged(path, number, " ".join(reason.split())) from error
    if sound.fault:
        raise _damaged(path, number, sound.fault)


class _SoundRecords(NamedTuple):
    """The number of records with valid lengths, the longest of them, and what is wrong with the next."""

    num_records: int
    longest: int
    fault: str


def _sound_records(file: str, max_bytes: int) -> _SoundRecords:
    count = longest = start = 0
    with open(file, "rb", buffering=0) as stream:
        descriptor = stream.fileno()
        end = os.fstat(descriptor).st_size
        while start < end:
            head = os.pread(descriptor, _LENGTH.size, start)
            size: int = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else end
            start += size + _FRAME_BYTES
            if start > end:
                return _SoundRecords(count, longest, "truncated record, or an invalid length")
            if size > max_bytes:
                return _SoundRecords(
                    count,
                    longest,
                    f"the record has {size:,} bytes, more than "
                    f"max_line_bytes={max_bytes:,}; increase it if the record is correct",
                )
            count += 1
            longest = max(longest, size)
    return _SoundRecords(count, longest, "")


def _damaged(path: FilePath, number: int, reason: str) -> BadRecordError:
    location = f"{path} record {number + 1}"
    return BadRecordError(
        f"{location}: damaged, or not a TFRecord file ({reason}); download or write it again",
        "rest of a damaged file",
        location,
    )
