"""ArrayRecord files, whose records are JSON objects or `tf.train.Example`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from highnoon.data.bad_records import BadRecordError, BadRecords
from highnoon.data.formats.file_record import FileRecord, decoded_records
from highnoon.data.formats.json_record import json_record
from highnoon.data.formats.tensorflow_example import example_values
from highnoon.data.reading.opening import local_file
from highnoon.data.reading.remote import FilePath
from highnoon.data.records.read_options import ReadOptions

_BATCH_RECORDS = 256
_BATCH_BYTES = 64 << 20


def read_array_record(path: FilePath, options: ReadOptions, bad: BadRecords) -> Iterator[FileRecord]:
    """Yields the records of an ArrayRecord file.

    A remote or compressed file is copied to a temporary file first.
    A record that begins with a brace is a JSON object in UTF-8; any other is a `tf.train.Example`, which
    never begins with a brace.

    Raises:
        ImportError: If the library array_record is not installed.
        BadRecordError: If the file is damaged; or, unless bad records are skipped, if a record is neither.
    """
    try:
        from array_record.python import array_record_module  # type: ignore[import-untyped]
    except ImportError:
        raise ImportError(
            f"{path} needs the library array_record: pip install highnoon[array-record]"
        ) from None
    with local_file(path) as file:
        yield from decoded_records(path, _records(array_record_module, path, os.fspath(file)), _values, bad)


def _records(library: Any, path: FilePath, file: str) -> Iterator[bytes]:
    reader = library.ArrayRecordReader(file)
    start, count = 0, 1
    try:
        if not reader.ok():
            raise RuntimeError("no readable index")
        while start < reader.num_records():
            records = reader.read(start, min(start + count, reader.num_records()))
            if not records:
                raise RuntimeError("fewer records than its index says")
            yield from records
            start += len(records)
            count = max(1, min(_BATCH_RECORDS, 2 * count, _BATCH_BYTES // max(1, *map(len, records))))
        # Closing reports damage that reading did not detect.
        reader.close()
    except RuntimeError as error:
        location = f"{path} record {start + 1}"
        raise BadRecordError(
            f"{location}: damaged, or not an ArrayRecord file ({str(error).split(';')[0]}); download or "
            f"write it again",
            "rest of a damaged file",
            location,
        ) from error


def _values(record: bytes, location: str) -> dict[str, Any]:
    if not record.startswith(b"{"):
        return example_values(record, location)
    try:
        return json_record(record.decode("utf-8"), location)
    except UnicodeDecodeError as error:
        raise BadRecordError(
            f"{location}: the record begins as JSON but is not UTF-8 ({error.reason}); fix it",
            "not UTF-8",
            location,
        ) from None
