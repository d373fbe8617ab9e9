"""What sources of records share: records to documents or to preference pairs, and what happens to bad ones."""

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
    """One record, and where it is.

    Args:
        values: Its fields.
        location: `file:line`, `file record 17` or another location that a person finds.
        id: Its name where it has no field `id`.
        source: What it was read from, where it has no field `source`.
        domain: Its domain.
        file: The whole path or URL of its file, empty where it is of none.
    """

    values: Mapping[str, Any]
    location: str
    id: str
    source: str
    domain: str = "default"
    file: str = ""


# Makes of a record, or of a document that was never one, what is asked for; None leaves it out.
Convert = Callable[[Record | Document, BadRecords], T | None]


class RecordSource(DocumentSource):
    """A source that reads records; `bad_records` tells what the last reading left out.

    A subclass gives `_read`.

    Args:
        options: How records become documents, and what is done with bad ones.
    """

    def __init__(self, options: ReadOptions | None = None) -> None:
        self.options = options or ReadOptions()
        self.bad_records = BadRecords(self.options.skip_bad)

    @property
    def bad_rows(self) -> BadRecords:
        """The former name of `bad_records`."""
        return self.bad_records

    def documents(self) -> Iterator[Document]:
        renderer = RecordRenderer(self.options)
        ids = IdCheck() if self.options.check_ids else None

        def convert(record: Record | Document, bad: BadRecords) -> Document | None:
            document = record if isinstance(record, Document) else _document(record, renderer, bad)
            if ids is None or document is None or not isinstance(record, Record) or not _own(record, "id"):
                return document
            # Files that are alike are numbered alike: an id is one of its file and domain.
            if not ids.is_doubled(record.file, record.domain, document.source, document.id):
                return document
            bad.take(
                BadRecordError(
                    f"{record.location}: another record of {record.file or document.source} has the id {document.id!r} "
                    f"already; give each record its own, leave the later ones out with skip_bad (--skip-bad), "
                    f"or read them all without check_ids (--no-check-ids)",
                    "doubled id",
                    record.location,
                )
            )
            return None

        return self._read(self._new_bad_records(), convert)

    def preference_pairs(self) -> Iterator[PreferencePair]:
        """Yields the pairs of a source of preference records (`prompt`, `chosen`, `rejected`).

        Raises:
            DataError: a record is none, unless bad records are skipped.
        """
        renderer = RecordRenderer(self.options)

        def convert(record: Record | Document, bad: BadRecords) -> PreferencePair | None:
            return _pair(record, renderer, bad)

        return self._read(self._new_bad_records(), convert)

    @abc.abstractmethod
    def _read(self, bad: BadRecords, convert: Convert[T]) -> Iterator[T]:
        """Yields what `convert` makes of each record, in the same order each time."""

    def _new_bad_records(self) -> BadRecords:
        self.bad_records = BadRecords(self.options.skip_bad)
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
    return Document(written.text, *_origin(record), record.domain, written.supervised, marks, label)


def _pair(record: Record | Document, renderer: RecordRenderer, bad: BadRecords) -> PreferencePair | None:
    try:
        if isinstance(record, Document):
            location = f"{record.source} document {record.id}"
            raise BadRecordError(
                f"{location}: a text file holds no preference records; give records with `prompt`, "
                f"`chosen` and `rejected`",
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
    """Source and id of a record, its own where it names them."""
    return _own(record, "source") or record.source, _own(record, "id") or record.id


def _own(record: Record, field: str) -> str:
    """What a record says of itself, empty where that is missing, null, NaN or blank."""
    value = record.values.get(field)
    if value is None or is_absent(value):
        return ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
