"""Parquet files, read in batches so that no complete row group is in memory as records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from highnoon.data.bad_records import BadRecordError, BadRecords
from highnoon.data.document import DataError
from highnoon.data.formats.file_record import FileRecord
from highnoon.data.reading.bounded_expansion import FREE_BYTES, MAX_EXPANSION
from highnoon.data.reading.opening import is_packed, local_file, open_bytes
from highnoon.data.reading.remote import FilePath
from highnoon.data.records.needed_fields import needed_fields
from highnoon.data.records.read_options import ReadOptions
from highnoon.files.foreign import MAX_DEPTH

_BATCH_RECORDS = 256
_BATCH_BYTES = 256 << 20
_BUFFER_BYTES = 1 << 20


def read_parquet(path: FilePath, options: ReadOptions, bad: BadRecords) -> Iterator[FileRecord]:
    """Yields the records of a Parquet file; a compressed file is decompressed into a temporary file first.

    Only the columns that a document is made of are read, see `needed_fields`.

    Raises:
        ImportError: If pyarrow is not installed.
        BadRecordError: If the file is damaged, is not Parquet, expands too far, or nests its columns too
            deeply; or, unless bad records are skipped, if a record is longer than `max_line_bytes`.
    """
    try:
        import pyarrow  # type: ignore[import-untyped]
        import pyarrow.parquet  # type: ignore[import-untyped]
    except ImportError:
        raise ImportError(f"{path} needs pyarrow: pip install highnoon[arrow]") from None
    opened = local_file(path) if is_packed(path) else open_bytes(path)
    number = 0
    with opened as file:
        try:
            with pyarrow.parquet.ParquetFile(file, pre_buffer=False, buffer_size=_BUFFER_BYTES) as table:
                _require_shallow(table.schema_arrow, path)
                columns = needed_fields(table.schema_arrow.names, options)
                for group in range(table.num_row_groups):
                    repeated = _require_sound(table.metadata.row_group(group), f"{path} record {number + 1}")
                    count = _BATCH_RECORDS
                    if repeated * count > _BATCH_BYTES:
                        count = max(1, min(count, _BATCH_BYTES // _dictionary_bytes(table, file, group)))
                    for batch in table.iter_batches(count, row_groups=[group], columns=columns):
                        is_long = batch.nbytes > options.max_line_bytes
                        for values in batch.to_pylist():
                            number += 1
                            location = f"{path} record {number}"
                            if is_long and _size(values) > options.max_line_bytes:
                                bad.take(_too_long(location, options.max_line_bytes))
                            else:
                                yield FileRecord(values, location, number)
        # The library raises these errors for values without a Python type, and for text that is not UTF-8.
        except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
            if isinstance(error, DataError):
                raise
            location = f"{path} record {number + 1}"
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise BadRecordError(
                f"{location}: damaged, or not a Parquet file ({reason}); download or write it again",
                "rest of a damaged file",
                location,
            ) from error


def _require_sound(group: Any, location: str) -> int:
    """Returns the size of the dictionary-encoded columns of a row group, in bytes.

    Raises:
        BadRecordError: If the columns expand further than text does.
    """
    # pyarrow aborts the process if the size statistics of a column are damaged (seen in 25.0.1), so columns
    # are only examined in groups that are large enough to need it; reading a damaged small group raises an
    # error.
    if group.total_byte_size <= _BATCH_BYTES // _BATCH_RECORDS:
        return 0
    packed = unpacked = repeated = 0
    for index in range(group.num_columns):
        column = group.column(index)
        packed += column.total_compressed_size
        unpacked += column.total_uncompressed_size
        if any("DICTIONARY" in encoding for encoding in column.encodings):
            repeated += column.total_uncompressed_size
    if unpacked > FREE_BYTES and unpacked > MAX_EXPANSION * packed:
        raise BadRecordError(
            f"{location}: a row group expands to {unpacked:,} bytes, more than {MAX_EXPANSION:,} times its "
            f"size, which text does not; if it is correct, write the file again without compression",
            "rest of a file that expands too far",
            location,
        )
    return repeated


def _dictionary_bytes(table: Any, file: Any, group: int) -> int:
    """Returns the size of a row group's first record with its dictionaries: a bound for any record."""
    schema = table.metadata.schema
    texts = [
        column.path
        for column in map(schema.column, range(len(schema.names)))
        if column.physical_type == "BYTE_ARRAY"
    ]
    with type(table)(
        file, pre_buffer=False, buffer_size=_BUFFER_BYTES, read_dictionary=texts
    ) as dictionaries:
        first = next(dictionaries.iter_batches(1, row_groups=[group]), None)
        return max(1, first.nbytes if first is not None else 0)


def _require_shallow(schema: Any, path: FilePath) -> None:
    level, depth = [field.type for field in schema], 1
    while level:
        if depth > MAX_DEPTH:
            raise BadRecordError(
                f"{path} nests its columns more than {MAX_DEPTH} levels deep; write it with flat columns",
                "nested too deep",
                str(path),
            )
        level = [kind.field(index).type for kind in level for index in range(kind.num_fields)]
        depth += 1


def _size(value: Any) -> int:
    """Returns the number of bytes, or characters, of the text in a value."""
    if isinstance(value, (str, bytes)):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_size, value.values()))
    return sum(map(_size, value)) if isinstance(value, list) else 0


def _too_long(location: str, max_bytes: int) -> BadRecordError:
    return BadRecordError(
        f"{location}: the record is longer than max_line_bytes={max_bytes:,}; shorten its text, or increase "
        f"`max_line_bytes`",
        "record too long",
        location,
    )
