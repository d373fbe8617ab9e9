"""Base class of datasets from hubs."""

from __future__ import annotations

import abc
import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from highnoon.data.bad_records import BadRecords
from highnoon.data.document import DataError
from highnoon.data.records.read_options import ReadOptions
from highnoon.data.records.record_kind import record_kind
from highnoon.data.records.record_source import Convert, Record, RecordSource

T = TypeVar("T")


class HubSource(RecordSource):
    """Documents from the records of a dataset that does not change once it is opened.

    Records become documents in the same way as those of files. The fingerprint hashes all texts with their
    supervised spans, and the options.
    """

    @abc.abstractmethod
    def _records(self) -> Iterator[Mapping[str, Any]]:
        """Yields the records, in the same order each time."""

    def _read(self, bad: BadRecords, convert: Convert[T]) -> Iterator[T]:
        for number, values in enumerate(self._records()):
            item = convert(Record(values, f"{self.name} record {number}", str(number), self.name), bad)
            if item is not None:
                yield item

    @functools.cached_property
    def _content_hash(self) -> bytes:
        content = hashlib.blake2b(digest_size=16)
        for document in self.documents():
            data = document.text.encode()
            content.update(len(data).to_bytes(8, "little"))
            content.update(data)
            if document.supervised is not None:
                content.update(repr(document.supervised).encode())
            if document.marks:
                content.update(repr(document.marks).encode())
        return content.digest()

    def _describe(self, digest: hashlib.blake2b) -> None:
        digest.update(self.options.describe().encode())
        digest.update(self._content_hash)


def require_known_columns(columns: Sequence[str], options: ReadOptions, name: str) -> None:
    """Checks, before anything is read, that records with these columns can be documents.

    Raises:
        DataError: If they cannot.
    """
    there = f"{name} has the columns {', '.join(columns) or 'none'}"
    if options.text_field is not None and options.text_field not in columns:
        raise DataError(f"{there}; `text_field` {options.text_field!r} is not one of them")
    is_told = options.text_field or options.template or options.kind
    if not is_told and record_kind(columns) is None:
        raise DataError(
            f"{there}, none of them text, messages, an instruction with its response or chosen with "
            f'rejected; name one with `text_field` (as in datasets={{"name": data, "text_field": '
            f"{columns[0] if columns else 'column'!r}}}) or several with `template`"
        )
