"""What collections of rows share: rows to documents, and a fingerprint of what they give."""

from __future__ import annotations

import abc
import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from highnoon.data.document import DataError
from highnoon.data.records.bad_records import BadRows
from highnoon.data.records.read_options import ReadOptions
from highnoon.data.records.record_kind import row_kind
from highnoon.data.records.record_source import Convert, Row, RowSource

T = TypeVar("T")


class HubSource(RowSource):
    """Documents in the rows of a collection that is fixed once it is opened.

    Rows become documents as those of files do. The fingerprint hashes every text, what of it is learnt, and
    the options.
    """

    @abc.abstractmethod
    def _rows(self) -> Iterator[Mapping[str, Any]]:
        """Yields the rows, in the same order each time."""

    def _read(self, bad: BadRows, convert: Convert[T]) -> Iterator[T]:
        for number, values in enumerate(self._rows()):
            item = convert(Row(values, f"{self.name} row {number}", str(number), self.name), bad)
            if item is not None:
                yield item

    @functools.cached_property
    def _content_hash(self) -> bytes:
        content = hashlib.blake2b(digest_size=16)
        for document in self.documents():
            data = document.text.encode()
            content.update(len(data).to_bytes(8, "little"))
            content.update(data)
            if document.learned is not None:
                content.update(repr(document.learned).encode())
            if document.marks:
                content.update(repr(document.marks).encode())
        return content.digest()

    def _describe(self, digest: hashlib.blake2b) -> None:
        digest.update(self.options.describe().encode())
        digest.update(self._content_hash)


def require_known_columns(columns: Sequence[str], options: ReadOptions, name: str) -> None:
    """Checks before anything is read that rows with these columns can be documents.

    Raises:
        DataError: they cannot.
    """
    there = f"{name} has the columns {', '.join(columns) or 'none'}"
    if options.text_field is not None and options.text_field not in columns:
        raise DataError(f"{there}; `text_field` {options.text_field!r} is not among them")
    is_told = options.text_field or options.template or options.kind
    if not is_told and row_kind(columns) is None:
        raise DataError(
            f"{there}, none of them text, messages, an instruction with its response or chosen "
            f"with rejected; name one with `text_field` or several with `template`"
        )
