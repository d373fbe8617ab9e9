"""JSON lines: one object a line."""

from __future__ import annotations

from collections.abc import Iterator

from highnoon.data.formats.file_row import FileRow
from highnoon.data.formats.json_row import json_row
from highnoon.data.reading.lines import read_lines
from highnoon.data.reading.remote import FilePath
from highnoon.data.records.bad_records import BadRowError, BadRows
from highnoon.data.records.read_options import ReadOptions


def read_jsonl(path: FilePath, options: ReadOptions, bad: BadRows) -> Iterator[FileRow]:
    """Yields the objects of a file of JSON lines; blank lines are passed over.

    Raises:
        BadRowError: a line that is no JSON object, unless bad rows are skipped.
    """
    for number, line in read_lines(path, bad, options.max_line_bytes):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        try:
            values = json_row(line, place)
        except BadRowError as error:
            bad.take(error)
            continue
        yield FileRow(values, place, number)
