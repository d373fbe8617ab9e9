"""Tells JSON files of records from configurations and indexes in the same folder."""

from __future__ import annotations

import pathlib

from highnoon.data.bad_records import BadRecordError, BadRecords
from highnoon.data.document import DataError
from highnoon.data.formats.by_name import reader_of
from highnoon.data.records.read_options import ReadOptions
from highnoon.data.records.record_kind import FIELDS_OF_KIND, record_kind
from highnoon.data.records.record_template import RecordTemplate


def holds_records(path: pathlib.Path, options: ReadOptions) -> bool:
    """Returns whether the first record of a file has fields that a document is made of.

    A file whose first record cannot be read counts as a file of records: reading it raises the error.

    Args:
        path: A file of records.
        options: How its records are read.
    """
    reader = reader_of(path)
    if reader is None:
        return False
    try:
        first = next(reader(path, options, BadRecords()), None)
    except BadRecordError as error:
        return error.reason != "no JSON object"
    except DataError:
        return True
    if first is None:
        return False
    if options.text_field is not None:
        return options.text_field in first.values
    if options.template is not None:
        return any(field in first.values for field in RecordTemplate(options.template).fields)
    if options.kind is not None:
        return any(field in first.values for field in FIELDS_OF_KIND[options.kind])
    return record_kind(first.values) is not None
