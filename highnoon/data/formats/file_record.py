"""What a reader of records takes and yields."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from highnoon.data.bad_records import BadRecordError, BadRecords
from highnoon.data.reading.remote import FilePath
from highnoon.data.records.read_options import ReadOptions


class FileRecord(NamedTuple):
    """One record of a file.

    Args:
        values: Its fields; text may still be UTF-8 bytes.
        location: `file:line` or `file record 17`.
        number: The number of its line or record, from 1.
    """

    values: Mapping[str, Any]
    location: str
    number: int


def decoded_records(
    path: FilePath,
    records: Iterable[bytes],
    decode: Callable[[bytes, str], Mapping[str, Any]],
    bad: BadRecords,
) -> Iterator[FileRecord]:
    """Yields the decoded records of a binary file.

    Args:
        path: The file.
        records: Its records.
        decode: Returns the fields of a record at a location, or raises BadRecordError.
        bad: Handles the records that cannot be decoded.
    """
    for number, record in enumerate(records, start=1):
        location = f"{path} record {number}"
        try:
            values = decode(record, location)
        except BadRecordError as error:
            bad.take(error)
            continue
        yield FileRecord(values, location, number)


# A reader passes records that it cannot read to `BadRecords`; it raises damage after which it cannot
# continue.
Reader = Callable[[FilePath, ReadOptions, BadRecords], Iterator[FileRecord]]
