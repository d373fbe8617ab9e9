"""The chat template that a source's conversations are written with."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from typing import Any

from highnoon.data.document import DataError, DocumentSource
from highnoon.data.formats.by_name import reader_of
from highnoon.data.reading.remote import FilePath
from highnoon.data.records.record_source import RecordSource
from highnoon.data.sources.domain_folder import DomainFolder
from highnoon.data.sources.files import Files
from highnoon.data.sources.prepared_tokens import PreparedTokens
from highnoon.tokenization import ChatTemplate

_MOST_DOCUMENTS, _FEWEST_DOCUMENTS, _MOST_CHARACTERS = 1000, 16, 4_000_000


def source_template(source: DocumentSource) -> ChatTemplate | None:
    """Returns the chat template of a source, or None if its documents are not conversations.

    If only the records show their kind, the first documents of each file are read: up to 1,000 per domain, or
    16 per file, and up to 4 million characters. A bad record ends the search in its file; it is reported when
    the source is read.
    """
    inner: Any = source
    while inner is not None and not isinstance(inner, (RecordSource, PreparedTokens)):
        inner = getattr(inner, "source", None)
    if isinstance(inner, PreparedTokens):
        return inner.tokenizer.chat_template
    if inner is None or not inner.options.may_write_conversations:
        return None
    is_found = inner.options.kind or any(map(_has_conversation, _parts(inner)))
    return inner.options.chat() if is_found else None


def _parts(source: RecordSource) -> Sequence[RecordSource]:
    """Returns the sources of the domains of a source, or the source itself."""
    return source.parts if isinstance(source, DomainFolder) else [source]


def _has_conversation(source: RecordSource) -> bool:
    # A copy counts its own bad records.
    files = [copy.copy(source)]
    if isinstance(source, Files):
        files = [_only(source, path) for path in source.paths if reader_of(path)]
    num_documents = max(_FEWEST_DOCUMENTS, _MOST_DOCUMENTS // max(1, len(files)))
    num_characters = 0
    for file in files:
        try:
            for document in itertools.islice(file.documents(), num_documents):
                if document.marks or document.supervised is not None:
                    return True
                num_characters += len(document.text)
                if num_characters > _MOST_CHARACTERS:
                    return False
        except DataError:
            continue
    return False


def _only(source: Files, path: FilePath) -> Files:
    """Returns a copy of the source with one of its files."""
    part = copy.copy(source)
    part.paths = [path]
    return part
