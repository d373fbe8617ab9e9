"""JSON lines: one object per line."""

from __future__ import annotations

from collections.abc import Iterator

from highnoon.data.bad_records import BadRecordError, BadRecords
from highnoon.data.formats.file_record import FileRecord
from highnoon.data.formats.json_record import json_record
from highnoon.data.reading.lines import read_lines
from highnoon.data.reading.remote import FilePath
from highnoon.data.records.read_options import ReadOptions


def read_jsonl(path: FilePath, options: ReadOptions, bad: BadRecords) -> Iterator[FileRecord]:
    """Yields the objects of a file of JSON lines; blank lines are skipped.

    Raises:
        BadRecordError: If a line is not a JSON object, unless bad records are skipped.
    """
    for number, line in read_lines(path, bad, options.max_line_bytes, options.encoding):
        if not line.strip():
            continue
        location = f"{path}:{number}"
        try:
            values = json_record(line, location)
        except BadRecordError as error:
            bad.take(error)
            continue
        yield FileRecord(values, location, number)
