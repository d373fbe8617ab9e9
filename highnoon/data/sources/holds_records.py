"""Whether a JSON file in a folder holds rows, or is a configuration or an index that lies among the data."""

from __future__ import annotations

import pathlib

from highnoon.data.document import DataError
from highnoon.data.formats.by_name import reader_of
from highnoon.data.records.bad_records import BadRowError, BadRows
from highnoon.data.records.read_options import ReadOptions
from highnoon.data.records.record_kind import FIELDS_OF_KIND, row_kind
from highnoon.data.records.record_template import RowTemplate


def holds_rows(path: pathlib.Path, options: ReadOptions) -> bool:
    """Returns whether the first record of a file has fields that a document is made of.

    A file that cannot be read as far as its first record counts as one of rows: reading it raises the error.

    Args:
        path: A file of rows.
        options: How its rows are read.
    """
    reader = reader_of(path)
    if reader is None:
        return False
    try:
        first = next(reader(path, options, BadRows()), None)
    except BadRowError as error:
        return error.reason != "no JSON object"
    except DataError:
        return True
    if first is None:
        return False
    if options.text_field is not None:
        return options.text_field in first.values
    if options.template is not None:
        return any(field in first.values for field in RowTemplate(options.template).fields)
    if options.kind is not None:
        return any(field in first.values for field in FIELDS_OF_KIND[options.kind])
    return row_kind(first.values) is not None
