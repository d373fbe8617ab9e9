"""Base class of sources that read records."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from highnoon.data.bad_records import BadRecordError, BadRecords
from highnoon.data.document import Document, DocumentSource
from highnoon.data.records.conversation_text import ConversationText
from highnoon.data.records.id_check import IdCheck
from highnoon.data.records.preference_pair import PreferencePair
from highnoon.data.records.read_options import ReadOptions
from highnoon.data.records.record_label import record_label
from highnoon.data.records.record_renderer import RecordRenderer
from highnoon.data.records.record_values import is_absent

T = TypeVar("T")


class Record(NamedTuple):
    """A record and its location.

    Args:
        values: Its fields.
        location: `file:line`, `file record 17` or another location that a person can find.
        id: Its name, unless it has a field `id`.
        source: What it was read from, unless it has a field `source`.
        domain: Its domain.
        file: The complete path or URL of its file; empty if it is not from a file.
    """

    values: Mapping[str, Any]
    location: str
    id: str
    source: str
    domain: str = "default"
    file: str = ""


# Converts a record, or a document that is not from a record, to the requested type; None skips it.
Convert = Callable[[Record | Document, BadRecords], T | None]


class RecordSource(DocumentSource):
    """A source that reads records; `bad_records` reports what the last reading skipped.

    A subclass implements `_read`.

    Args:
        options: How records become documents, and what happens to bad ones.
    """

    def __init__(self, options: ReadOptions | None = None) -> None:
        self.options = options or ReadOptions()
        self.bad_records = BadRecords(self.options.skip_bad)
        self.make_bad_records: Callable[[bool], BadRecords] = BadRecords

    @property
    def bad_rows(self) -> BadRecords:
        """The former name of `bad_records`."""
        return self.bad_records

    def documents(self) -> Iterator[Document]:
        renderer = RecordRenderer(self.options)
        ids = IdCheck() if self.options.check_ids else None

        def convert(record: Record | Document, bad: BadRecords) -> Document | None:
            document = record if isinstance(record, Document) else _document(record, renderer, bad)
            if (
                ids is None
                or document is None
                or not isinstance(record, Record)
                or not own_field(record, "id")
            ):
                return document
            # Records without ids are numbered in each file, so an id is unique within its file and domain.
            if not ids.is_doubled(record.file, record.domain, document.source, document.id):
                return document
            bad.take(
                BadRecordError(
                    f"{record.location}: another record of {record.file or document.source} has the id "
                    f"{document.id!r} already; give each record its own id, skip the later ones with "
                    f"skip_bad (--skip-bad), or do not check ids (--no-check-ids)",
                    "duplicate id",
                    record.location,
                )
            )
            return None

        return self._read(self._new_bad_records(), convert)

    def preference_pairs(self) -> Iterator[PreferencePair]:
        """Yields the pairs of preference records (`prompt`, `chosen`, `rejected`).

        Raises:
            DataError: If a record is not a preference, unless bad records are skipped.
        """
        renderer = RecordRenderer(self.options)

        def convert(record: Record | Document, bad: BadRecords) -> PreferencePair | None:
            return _pair(record, renderer, bad)

        return self._read(self._new_bad_records(), convert)

    def read_records(self, convert: Convert[T]) -> Iterator[T]:
        """Yields what a function makes of each record, for sources that need more of it than its text.

        Args:
            convert: Called with a record, or with a document that is not from a record, and the counter of
                bad records, whose `take` raises or counts an error. It returns None to skip the record.
        """
        return self._read(self._new_bad_records(), convert)

    @abc.abstractmethod
    def _read(self, bad: BadRecords, convert: Convert[T]) -> Iterator[T]:
        """Yields the result of `convert` for each record, in the same order each time."""

    def _new_bad_records(self) -> BadRecords:
        self.bad_records = self.make_bad_records(self.options.skip_bad)
        return self.bad_records


def _document(record: Record, renderer: RecordRenderer, bad: BadRecords) -> Document | None:
    try:
        written = renderer.render(record.values, record.location)
    except BadRecordError as error:
        bad.take(error)
        return None
    if not written.text.strip():
        bad.count("empty document", record.location)
        return None
    marks = written.marks if isinstance(written, ConversationText) else ()
    label = record_label(record.values.get(renderer.options.label_field))
    origin, location = _origin(record), record.location
    return Document(written.text, *origin, record.domain, written.supervised, marks, label, location)


def _pair(record: Record | Document, renderer: RecordRenderer, bad: BadRecords) -> PreferencePair | None:
    try:
        if isinstance(record, Document):
            location = f"{record.source} document {record.id}"
            raise BadRecordError(
                f"{location}: a text file has no preference records; use records with `prompt`, `chosen` and "
                f"`rejected`",
                "no preference",
                location,
            )
        marks = renderer.pair_of_texts(record.values, record.location)[0].marks
        return PreferencePair(
            *renderer.pair(record.values, record.location), *_origin(record), record.domain, marks
        )
    except BadRecordError as error:
        bad.take(error)
        return None


def _origin(record: Record) -> tuple[str, str]:
    """Returns the source and id of a record: its own fields, or else where it was read from."""
    return own_field(record, "source") or record.source, own_field(record, "id") or record.id


def own_field(record: Record, field: str) -> str:
    """Returns a field of a record as a string; empty if it is missing, null, NaN or blank."""
    value = record.values.get(field)
    if value is None or is_absent(value):
        return ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
