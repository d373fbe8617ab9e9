"""What sources of rows share: rows to documents or to preference pairs, and what happens to bad ones."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from highnoon.data.document import Document, DocumentSource
from highnoon.data.records.bad_records import BadRowError, BadRows
from highnoon.data.records.conversation_text import ConversationText
from highnoon.data.records.id_check import IdCheck
from highnoon.data.records.preference_pair import PreferencePair
from highnoon.data.records.read_options import ReadOptions
from highnoon.data.records.record_label import record_label
from highnoon.data.records.record_renderer import RowRenderer
from highnoon.data.records.record_values import is_absent

T = TypeVar("T")


class Row(NamedTuple):
    """One row, and where it is.

    Args:
        values: Its fields.
        place: `file:line`, `file row 17` or another place that a person finds.
        id: Its name where it has no field `id`.
        source: What it was read from, where it has no field `source`.
        domain: Its domain.
        file: The whole path or URL of its file, empty where it is of none.
    """

    values: Mapping[str, Any]
    place: str
    id: str
    source: str
    domain: str = "default"
    file: str = ""


# Makes of a row, or of a document that was never one, what is asked for; None leaves it out.
Convert = Callable[[Row | Document, BadRows], T | None]


class RowSource(DocumentSource):
    """A source that reads rows; `bad_rows` tells what the last reading left out.

    A subclass gives `_read`.

    Args:
        options: How rows become documents, and what is done with bad ones.
    """

    def __init__(self, options: ReadOptions | None = None) -> None:
        self.options = options or ReadOptions()
        self.bad_rows = BadRows(self.options.skip_bad)

    def documents(self) -> Iterator[Document]:
        renderer = RowRenderer(self.options)
        ids = IdCheck() if self.options.check_ids else None

        def convert(row: Row | Document, bad: BadRows) -> Document | None:
            document = row if isinstance(row, Document) else _document(row, renderer, bad)
            if ids is None or document is None or not isinstance(row, Row) or not _own(row, "id"):
                return document
            # Files that are alike are numbered alike: an id is one of its file and domain.
            if not ids.is_doubled(row.file, row.domain, document.source, document.id):
                return document
            bad.take(
                BadRowError(
                    f"{row.place}: another row of {row.file or document.source} has the id {document.id!r} "
                    f"already; give each row its own, leave the later ones out with skip_bad (--skip-bad), "
                    f"or read them all without check_ids (--no-check-ids)",
                    "doubled id",
                    row.place,
                )
            )
            return None

        return self._read(self._new_bad_rows(), convert)

    def preference_pairs(self) -> Iterator[PreferencePair]:
        """Yields the pairs of a source of preference rows (`prompt`, `chosen`, `rejected`).

        Raises:
            DataError: a row is none, unless bad rows are skipped.
        """
        renderer = RowRenderer(self.options)

        def convert(row: Row | Document, bad: BadRows) -> PreferencePair | None:
            return _pair(row, renderer, bad)

        return self._read(self._new_bad_rows(), convert)

    @abc.abstractmethod
    def _read(self, bad: BadRows, convert: Convert[T]) -> Iterator[T]:
        """Yields what `convert` makes of each row, in the same order each time."""

    def _new_bad_rows(self) -> BadRows:
        self.bad_rows = BadRows(self.options.skip_bad)
        return self.bad_rows


def _document(row: Row, renderer: RowRenderer, bad: BadRows) -> Document | None:
    try:
        written = renderer.render(row.values, row.place)
    except BadRowError as error:
        bad.take(error)
        return None
    if not written.text.strip():
        bad.count("empty document", row.place)
        return None
    marks = written.marks if isinstance(written, ConversationText) else ()
    label = record_label(row.values.get(renderer.options.label_field))
    return Document(written.text, *_origin(row), row.domain, written.learned, marks, label)


def _pair(row: Row | Document, renderer: RowRenderer, bad: BadRows) -> PreferencePair | None:
    try:
        if isinstance(row, Document):
            place = f"{row.source} document {row.id}"
            raise BadRowError(
                f"{place}: a text file holds no preference rows; give rows with `prompt`, "
                f"`chosen` and `rejected`",
                "no preference",
                place,
            )
        marks = renderer.pair_of_texts(row.values, row.place)[0].marks
        return PreferencePair(*renderer.pair(row.values, row.place), *_origin(row), row.domain, marks)
    except BadRowError as error:
        bad.take(error)
        return None


def _origin(row: Row) -> tuple[str, str]:
    """Source and id of a row, its own where it names them."""
    return _own(row, "source") or row.source, _own(row, "id") or row.id


def _own(row: Row, field: str) -> str:
    """What a row says of itself, empty where that is missing, null, NaN or blank."""
    value = row.values.get(field)
    if value is None or is_absent(value):
        return ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
