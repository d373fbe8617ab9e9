"""Documents that each have a label."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from highnoon.data.bad_records import BadRecordError, BadRecords
from highnoon.data.document import DataError, Document, DocumentSource
from highnoon.data.sources.prepared_tokens import PreparedTokens


class LabeledDocuments(DocumentSource):
    """The documents of another source, whose labels are stored with their tokens.

    The label of a record is its field `label`, or the one that `ReadOptions.label_field` names. A document
    without a label is a bad record: an error, or counted where the source was opened with `skip_bad`.

    Args:
        source: Records with labels.

    Example:

    ```python
    import pathlib, tempfile
    from highnoon.data import Files
    from highnoon.data.sources.labeled_documents import LabeledDocuments
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "a.jsonl").write_text('{"text": "good", "label": 1}\\n')
        source = LabeledDocuments(Files(f"{folder}/a.jsonl"))
        assert [document.label for document in source.documents()] == ["1"]
    ```
    """

    has_labels = True

    def __init__(self, source: DocumentSource) -> None:
        self.source = source
        self.name = source.name
        self.bad_records = BadRecords(_skips_bad(source))

    def documents(self) -> Iterator[Document]:
        self.bad_records = BadRecords(_skips_bad(self.source))
        for document in self.source.documents():
            if document.label is None:
                self.bad_records.take(self._error(document))
            else:
                yield document
        inner = _inner_bad_records(self.source)
        if inner is not None:
            self.bad_records.add(inner.report())

    def _error(self, document: Document) -> BadRecordError:
        location = f"{document.source} record {document.id}"
        field = getattr(_options(self.source), "label_field", "label")
        return BadRecordError(
            f"{location}: expected a label, a string or an integer in the field `{field}`; received none; "
            "add it, or name another field with `label_field`",
            "no label",
            location,
        )

    def _describe(self, digest: hashlib.blake2b) -> None:
        field = getattr(_options(self.source), "label_field", "label")
        digest.update(f"{self.source.fingerprint()} {field}".encode())


def labeled(source: DocumentSource) -> DocumentSource:
    """Returns a source whose documents have labels.

    Raises:
        DataError: it holds tokens that were prepared without labels.
    """
    if source.has_labels:
        return source
    if isinstance(source, PreparedTokens):
        raise DataError(
            f"{source.name} was prepared without labels; train on the records themselves, or prepare them "
            "with prepare(LabeledDocuments(source), tokenizer, folder)"
        )
    return LabeledDocuments(source)


def _options(source: Any) -> Any:
    """Returns the options of the innermost source that reads records, or None."""
    while source is not None:
        options = getattr(source, "options", None)
        if options is not None:
            return options
        source = getattr(source, "source", None)
    return None


def _skips_bad(source: Any) -> bool:
    return bool(getattr(_options(source), "skip_bad", False))


def _inner_bad_records(source: Any) -> BadRecords | None:
    while source is not None:
        bad_records = getattr(source, "bad_records", None)
        if bad_records is not None:
            found: BadRecords = bad_records
            return found
        source = getattr(source, "source", None)
    return None
