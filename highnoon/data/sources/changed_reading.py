"""Detects files of records that earlier versions read as other documents.

Fields are now chosen by their content, not only by their names, and more role names and supervision flags of
conversations are known.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from highnoon.data.bad_records import BadRecordError, BadRecords
from highnoon.data.formats.by_name import format_of, reader_of
from highnoon.data.reading.lines import raw_lines
from highnoon.data.reading.opening import is_packed
from highnoon.data.reading.remote import FilePath, RemotePath
from highnoon.data.records.chat_turns import LEARN_FIELDS
from highnoon.data.records.read_options import ReadOptions
from highnoon.data.records.record_kind import (
    CHAT_FIELDS,
    INSTRUCTION_FIELDS,
    KNOWN_FIELDS,
    PREFERENCE_FIELDS,
    RESPONSE_FIELDS,
    TEXT_FIELDS,
    first_field,
    present_fields,
    record_kind,
)
from highnoon.data.records.record_renderer import RecordRenderer
from highnoon.data.records.record_values import is_absent
from highnoon.data.sources.earlier_turns import earlier_turns, present_turns
from highnoon.tokenization.chat.chat_template import TOOL_FIELDS

_FIRST_RECORDS = 64
_LINES = (".jsonl", ".ndjson")
_TABLES = (".csv", ".tsv")
_RECORDS = (".tfrecord", ".tfrecords", ".array_record", ".arrayrecord", ".parquet")

# A known field without content, or one that was not known before. The pattern begins with a quote, so that
# the search can skip to quotes.
_EMPTY = re.compile(
    rb'"(?:(?:' + "|".join((*KNOWN_FIELDS, "role", "value")).encode() + rb')"\s*:\s*'
    rb'(?:null|NaN|"(?:\s|\\[nrtf])*"|\[\s*\]|\{\s*\})|completion"\s*:)'
)
# A line with conversations, and what in it may be read differently: role names, content that is blank or not
# text, and further fields of a turn. Within JSON text the quotes are escaped.
_TURNS_FIELDS = "|".join((*CHAT_FIELDS, *PREFERENCE_FIELDS, "prompt")).encode()
_CHAT = re.compile(rb'"(?:' + _TURNS_FIELDS + rb')"\s*:\s*[^"\s]')
_CHAT_TEXT = re.compile(rb'"(?:' + "|".join(CHAT_FIELDS).encode() + rb')"\s*:')
_SUSPECT = re.compile(
    rb'\\?"(?:(?:role|from)\\?"\s*:'
    rb'(?!\s*\\?"(?:user|assistant|system|tool|human|gpt|chatgpt|bot|chatbot|model)\\?")'
    rb'|(?:content|value)\\?"\s*:\s*(?:[^"\\\s]|\\?"(?:\s|\\+[nrtf])*\\?")'
    rb"|(?:" + "|".join((*LEARN_FIELDS, *TOOL_FIELDS)).encode() + rb"|speaker|author|sender"
    rb'|text|message|parts|utterance)\\?"\s*:)'
)
_ANSWER = re.compile(rb'\\?"(?:role|from)\\?"\s*:\s*\\?"(?:assistant|gpt|chatgpt|bot|chatbot|model)\\?"')
_ROLE_FORM = re.compile(rb'\\?"(?:role|content)\\?"\s*:')
_FROM_FORM = re.compile(rb'\\?"(?:from|value)\\?"\s*:')
_EMPTY_OR_CHAT = re.compile(_EMPTY.pattern + rb"|" + _CHAT.pattern + rb"|" + _CHAT_TEXT.pattern)

# Reasons for which a record was already bad in earlier versions.
_STILL_BAD = ("not text", "lone surrogate", "not UTF-8")
_NOT_A_NUMBER = re.compile(rb'(?:^|[,\t"])(?:nan|NaN)(?:$|[,\t"\r\n])')
_NAMELESS_INDEX = re.compile(rb'(?:"")?[,\t]')


def is_read_otherwise(path: FilePath, options: ReadOptions) -> bool:
    """Returns whether a file of records may give other documents than in earlier versions.

    The fingerprint of such a file must change; the fingerprint of any other file must not. JSON lines are
    searched for a field without content. For tables and binary records, the field names of the first records
    show whether another field could replace an empty one.

    Args:
        path: A file of records.
        options: How its records are read.

    Raises:
        DataError: If the file cannot be read.
    """
    form = format_of(path)
    if form == ".json":
        # It was read as text: its fingerprint differs by its format, whatever its records are.
        return False
    if form in _TABLES and not isinstance(path, RemotePath) and _is_table_read_otherwise(path, options):
        return True
    if options.text_field is not None or options.template is not None:
        return False
    if form in _LINES and not isinstance(path, RemotePath):
        renderer = RecordRenderer(options)
        lines = _found_lines(path, options, _EMPTY_OR_CHAT)
        return any(_may_change(line) and _changes(line, renderer) for line in lines)
    if form in _RECORDS and (is_packed(path) or (isinstance(path, RemotePath) and form != ".parquet")):
        # The complete file would be copied for its first records.
        return True
    return _is_ambiguous(_first_names(path, options))


def _is_table_read_otherwise(path: FilePath, options: ReadOptions) -> bool:
    """Returns whether a table has a cell that is null now, or an unnamed index that was an error."""
    names = next(raw_lines(path, BadRecords(skip=True), options.max_line_bytes, options.encoding), None)
    if names is not None and _NAMELESS_INDEX.match(names[2]):
        return True
    return next(_found_lines(path, options, _NOT_A_NUMBER), None) is not None


def _found_lines(path: FilePath, options: ReadOptions, pattern: re.Pattern[bytes]) -> Any:
    skipped = BadRecords(skip=True)
    return (
        line
        for _, _, line in raw_lines(path, skipped, options.max_line_bytes, options.encoding)
        if pattern.search(line)
    )


def _first_names(path: FilePath, options: ReadOptions) -> set[str]:
    reader = reader_of(path)
    if reader is None:
        return set()
    records = reader(path, options, BadRecords(skip=True))
    try:
        return {
            name
            for record in itertools.islice(records, _FIRST_RECORDS)
            for name in record.values
            if name in KNOWN_FIELDS
        }
    except BadRecordError:
        # Reading the file raises or counts this error, and no document precedes it.
        return set()


def _is_ambiguous(names: Collection[str]) -> bool:
    """Returns whether a record with these fields could be read differently if one of them is empty."""
    kinds = [
        any(name in names for name in TEXT_FIELDS),
        any(name in names for name in CHAT_FIELDS),
        bool(first_field(names, INSTRUCTION_FIELDS) and first_field(names, RESPONSE_FIELDS)),
        all(name in names for name in PREFERENCE_FIELDS),
    ]
    groups = (TEXT_FIELDS, CHAT_FIELDS, INSTRUCTION_FIELDS, RESPONSE_FIELDS)
    if kinds[1]:
        # The roles and flags of turns in a column are not inspected.
        return True
    is_doubled = any(sum(name in names for name in group) > 1 for group in groups)
    return sum(kinds) > 1 or is_doubled or (kinds[2] and "completion" in names)


def _may_change(line: bytes) -> bool:
    """Returns whether a line must be parsed: most lines of conversations need not be."""
    if _EMPTY.search(line):
        return True
    return bool(
        _SUSPECT.search(line)
        or not _ANSWER.search(line)
        or (_ROLE_FORM.search(line) and _FROM_FORM.search(line))
    )


def _changes(line: bytes, renderer: RecordRenderer) -> bool:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return False
    if not isinstance(values, dict):
        return False
    options = renderer.options
    before = _chosen_by_name(values, options)
    kind = options.kind or record_kind(present_fields(values))
    now: tuple[Any, ...] | None = (kind, *_fields(kind, present_fields(values)))
    try:
        if not renderer.render(values, "").text.strip():
            now = None
    except BadRecordError as error:
        if error.reason in _STILL_BAD and before in (now, None):
            return False
        now = None
    if before != now or now is None:
        return before != now
    is_default = options.chat().template is None
    return any(
        earlier_turns(values[field], is_default) != present_turns(values[field], is_default)
        for field in _conversation_fields(kind, now[1:], values)
    )


def _chosen_by_name(values: Mapping[str, Any], options: ReadOptions) -> tuple[Any, ...] | None:
    """Returns the kind and fields of a record by names alone; None if that gave no document."""
    names = [name for name in values if name != "completion"]
    kind = options.kind or record_kind(names)
    if kind is None:
        return None
    fields = _fields(kind, names)
    if not fields or None in fields:
        return None
    if not _was_read(kind, [values[field] for field in fields if field is not None], values.get("input")):
        return None
    is_default = options.chat().template is None
    conversations = _conversation_fields(kind, fields, values)
    if any(earlier_turns(values[field], is_default) is None for field in conversations):
        return None
    return (kind, *fields)


def _was_read(kind: str, held: Sequence[Any], further_input: Any) -> bool:
    """Returns whether the values of the chosen fields gave a document, apart from conversation turns."""
    if kind == "preference":
        # An empty answer was accepted.
        return all(isinstance(value, (str, list, dict)) for value in held)
    if kind == "instruction":
        is_text = all(isinstance(value, (str, type(None))) for value in (held[0], further_input))
        return is_text and not is_absent(held[1])
    return not any(map(is_absent, held))


def _conversation_fields(
    kind: str | None, fields: Sequence[str | None], values: Mapping[str, Any]
) -> list[str]:
    """Returns the fields of a record that hold conversations; a string answer does not."""
    if kind == "chat":
        return [field for field in fields if field is not None]
    answers = [*fields, "prompt"] if kind == "preference" else []
    return [field for field in answers if field is not None and isinstance(values.get(field), (list, dict))]


def _fields(kind: str | None, names: Collection[str]) -> tuple[str | None, ...]:
    if kind == "text":
        return (first_field(names, TEXT_FIELDS),)
    if kind == "chat":
        return (first_field(names, CHAT_FIELDS),)
    if kind == "instruction":
        return first_field(names, INSTRUCTION_FIELDS), first_field(names, RESPONSE_FIELDS)
    return tuple(name if name in names else None for name in PREFERENCE_FIELDS)
