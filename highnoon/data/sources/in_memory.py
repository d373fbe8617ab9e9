"""Documents from an object in memory."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from highnoon.data.document import DataError, Document
from highnoon.data.records.read_options import ReadOptions
from highnoon.data.sources.hub_source import HubSource, require_known_columns
from highnoon.data.sources.object_records import object_records

# How much of a stream identifies it.
STREAM_DOCUMENTS = 10_000
STREAM_BYTES = 64_000_000


class InMemoryDataset(HubSource):
    """The documents of an object: it is read in batches, never copied as a whole.

    - A `datasets.Dataset` or `IterableDataset` of Hugging Face. Of a `DatasetDict` the split `train` is read,
      or the only split.
    - A list, tuple, `pandas.Series` or NumPy array of texts; a list of records (dicts).
    - A `pandas.DataFrame` or `pyarrow.Table`; each row is a record.
    - A `tf.data.Dataset` of scalar strings, or of dicts of scalars.
    - A function without arguments that returns an iterator of texts or records, such as a generator function:
      it is called again for each reading. A generator itself can be read once and is refused.

    Records become documents in the same way as those of files. The fingerprint is a hash of all documents, so
    a run is resumed with equal data only, whatever object holds it. If the object gives other documents in a
    later reading, reading ends with an error. A stream is identified by its first 10,000 documents or 64 MB.

    Args:
        data: The object.
        name: The name in reports; None describes the object.
        options: How records become documents, and what happens to bad ones.
        is_streamed: Whether to read it while a run trains, without storing tokens.

    Raises:
        DataError: The object holds no texts or records, or can be read once only.

    Example:

    ```python
    from highnoon.data import InMemoryDataset
    source = InMemoryDataset(["one text", "another"])
    assert [document.text for document in source.documents()] == ["one text", "another"]
    assert source.fingerprint() == InMemoryDataset([{"text": "one text"}, {"text": "another"}]).fingerprint()
    ```
    """

    def __init__(
        self,
        data: Any,
        name: str | None = None,
        options: ReadOptions | None = None,
        is_streamed: bool = False,
    ) -> None:
        super().__init__(options)
        self._object = object_records(data, self.options)
        self.is_named = name is not None
        self.name = name or self._object.name
        self.is_streamed = is_streamed
        self._content: bytes | None = None
        if self._object.columns is not None:
            require_known_columns(self._object.columns, self.options, self.name)

    def documents(self) -> Iterator[Document]:
        content = hashlib.blake2b(digest_size=16)
        for document in super().documents():
            _add_document(content, document)
            yield document
        if self._content is None:
            self._content = content.digest()
        if content.digest() != self._content:
            raise DataError(
                f"{self.name} gave other documents than when it was first read; its content and order must "
                f"be the same each time: fix the seed of its shuffle, or leave out the shuffle, which a run "
                f"does itself"
            )

    def _records(self) -> Iterator[Mapping[str, Any]]:
        return self._object.read()

    def _describe(self, digest: hashlib.blake2b) -> None:
        digest.update(self.options.describe().encode())
        if self.is_streamed:
            digest.update(self._head())
            return
        if self._content is None:
            for _ in self.documents():
                pass
        assert self._content is not None
        digest.update(self._content)

    def _head(self) -> bytes:
        """Returns the hash of the first documents."""
        content, size = hashlib.blake2b(b"stream", digest_size=16), 0
        for document in itertools.islice(super().documents(), STREAM_DOCUMENTS):
            size += _add_document(content, document)
            if size > STREAM_BYTES:
                break
        return content.digest()


def _add_document(content: hashlib.blake2b, document: Document) -> int:
    """Adds all that a store has of a document to a hash, and returns the bytes of its text."""
    text = document.text.encode()
    about = repr((document.domain, document.supervised, document.marks, document.label)).encode()
    for part in (text, about):
        content.update(len(part).to_bytes(8, "little"))
        content.update(part)
    return len(text)
