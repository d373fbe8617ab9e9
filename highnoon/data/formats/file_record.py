"""What every reader of records gives, and what it is given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from highnoon.data.bad_records import BadRecordError, BadRecords
from highnoon.data.reading.remote import FilePath
from highnoon.data.records.read_options import ReadOptions


class FileRecord(NamedTuple):
    """One record of a file.

    Args:
        values: Its fields; text may still be bytes of UTF-8.
        location: `file:line` or `file record 17`.
        number: Of its line or record, from 1.
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
    """Yields the records of a file of records.

    Args:
        path: The file.
        records: Its records.
        decode: Returns the fields of a record found at a location, or raises BadRecordError.
        bad: Takes the records that cannot be decoded.
    """
    for number, record in enumerate(records, start=1):
        location = f"{path} record {number}"
        try:
            values = decode(record, location)
        except BadRecordError as error:
            bad.take(error)
            continue
        yield FileRecord(values, location, number)


# A reader hands records that it cannot read to `BadRecords`; damage after which nothing can be read it raises.
Reader = Callable[[FilePath, ReadOptions, BadRecords], Iterator[FileRecord]]
