"""Detects files with records that earlier versions skipped as bad, or read without their tools."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from highnoon.data.bad_records import BadRecords
from highnoon.data.formats.by_name import format_of, reader_of
from highnoon.data.reading.lines import raw_lines
from highnoon.data.reading.remote import FilePath, RemotePath
from highnoon.data.records.read_options import ReadOptions
from highnoon.data.records.record_kind import CHAT_FIELDS, KNOWN_FIELDS, PREFERENCE_FIELDS
from highnoon.tokenization.chat.chat_template import TOOL_FIELDS

_FIRST_RECORDS = 64
_TEXT_ONLY = (".csv", ".tsv")
_CALLS = re.compile(r'"(?:' + "|".join((*TOOL_FIELDS, "input_text", "output_text")) + r')"')


def holds_more_records(path: FilePath, options: ReadOptions) -> bool:
    """Returns whether a file gives other documents than before numbers, tool calls and tools were read.

    Only a source that skips bad records could be read before numbers and tool calls were: for any other, only
    tools next to a conversation matter.

    Args:
        path: A file of records.
        options: How its records are read.

    Raises:
        DataError: If the file cannot be read.
    """
    if options.template is not None:
        return False
    if not options.skip_bad and options.text_field is not None:
        return False
    if format_of(path) in (".jsonl", ".ndjson") and not isinstance(path, RemotePath):
        return any(_is_read_more(values, options) for values in _suspect_lines(path, options))
    reader = reader_of(path)
    assert reader is not None
    records = reader(path, options, BadRecords(skip=True))
    if not options.skip_bad or format_of(path) in _TEXT_ONLY:
        first = list(itertools.islice(records, _FIRST_RECORDS))
        if not any(name in record.values for record in first for name in (*CHAT_FIELDS, "tools")):
            return False
        records = itertools.chain(first, records)
    return any(_is_read_more(record.values, options) for record in records)


def _suspect_lines(path: FilePath, options: ReadOptions) -> Iterator[Mapping[str, Any]]:
    fields = (options.text_field,) if options.text_field else KNOWN_FIELDS
    number = rb'"(?:' + b"|".join(re.escape(name.encode()) for name in fields) + rb')"\s*:\s*[-0-9tf]'
    patterns = [rb'"tools"'] if not options.skip_bad else [number, rb'"tools"', rb"_call", rb"put_text"]
    pattern = re.compile(b"|".join(patterns))
    for _, _, line in raw_lines(path, BadRecords(skip=True), options.max_line_bytes, options.encoding):
        if pattern.search(line):
            try:
                values = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(values, dict):
                yield values


def _is_read_more(values: Mapping[str, Any], options: ReadOptions) -> bool:
    turns = [values[name] for name in (*CHAT_FIELDS, *PREFERENCE_FIELDS) if values.get(name) is not None]
    if turns and options.text_field is None and values.get("tools") is not None:
        return True
    if not options.skip_bad:
        return False
    fields = (options.text_field,) if options.text_field else KNOWN_FIELDS
    if any(isinstance(values.get(name), (bool, int, float)) for name in fields):
        return True
    return any(_CALLS.search(json.dumps(part, default=str)) is not None for part in turns)
