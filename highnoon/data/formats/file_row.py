"""What every reader of rows gives, and what it is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from highnoon.data.bad_rows import BadRows
from highnoon.data.read_options import ReadOptions
from highnoon.data.remote import FilePath


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


# A reader hands rows that it cannot read to `BadRows`; damage after which nothing can be read it raises.
Reader = Callable[[FilePath, ReadOptions, BadRows], Iterator[FileRow]]
