"""The fields of a record that a document is made of, so that readers of tables skip the other columns."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from highnoon.data.records.read_options import ReadOptions
from highnoon.data.records.record_kind import KNOWN_FIELDS, record_kind
from highnoon.data.records.record_template import RecordTemplate

# What a record says of itself besides its text, and the tools that a conversation may call.
_ABOUT = ("id", "source", "tools")


def needed_fields(columns: Sequence[str], options: ReadOptions) -> list[str]:
    """Returns the columns that rendering a record reads, in their order.

    All columns are returned if none of them has text, so that the error about it names them.

    Args:
        columns: The columns of a table.
        options: How its records are read.
    """
    text: Collection[str] = KNOWN_FIELDS
    if options.template is not None:
        text = RecordTemplate(options.template, options.learned_fields).fields
    elif options.text_field is not None:
        text = (options.text_field,)
    elif options.kind is None and record_kind(columns) is None:
        return list(columns)
    if not any(name in text for name in columns):
        return list(columns)
    kept = {*text, *_ABOUT, options.label_field}
    return [name for name in columns if name in kept]
