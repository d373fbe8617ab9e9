"""What every reader of rows gives, and what it is given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from highnoon.data.reading.remote import FilePath
from highnoon.data.records.bad_records import BadRowError, BadRows
from highnoon.data.records.read_options import ReadOptions


class FileRow(NamedTuple):
    """One row of a file.

    Args:
        values: Its fields; text may still be bytes of UTF-8.
        place: `file:line` or `file row 17`.
        number: Of its line or row, from 1.
    """

    values: Mapping[str, Any]
    place: str
    number: int


def record_rows(
    path: FilePath, records: Iterable[bytes], decode: Callable[[bytes, str], Mapping[str, Any]], bad: BadRows
) -> Iterator[FileRow]:
    """Yields the rows of a file of records.

    Args:
        path: The file.
        records: Its records.
        decode: Returns the fields of a record found at a place, or raises BadRowError.
        bad: Takes the records that cannot be decoded.
    """
    for number, record in enumerate(records, start=1):
        place = f"{path} row {number}"
        try:
            values = decode(record, place)
        except BadRowError as error:
            bad.take(error)
            continue
        yield FileRow(values, place, number)


# A reader hands rows that it cannot read to `BadRows`; damage after which nothing can be read it raises.
Reader = Callable[[FilePath, ReadOptions, BadRows], Iterator[FileRow]]
