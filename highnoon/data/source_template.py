"""Which chat template the conversations of a source are written in."""

from __future__ import annotations

import copy
import itertools
from typing import Any

from highnoon.data.document import DataError, DocumentSource
from highnoon.data.prepared_tokens import PreparedTokens
from highnoon.data.row_source import RowSource
from highnoon.tokenization import ChatTemplate

_MOST_DOCUMENTS, _MOST_CHARACTERS = 1000, 4_000_000


def source_template(source: DocumentSource) -> ChatTemplate | None:
    """Returns the chat template of a source, None where its documents are not conversations.

    Where nothing but the rows themselves says what they are, the first 1,000 documents are read, up to 4
    million characters. A row that cannot be used ends the look: who reads the source reports it.
    """
    inner: Any = source
    while inner is not None and not isinstance(inner, (RowSource, PreparedTokens)):
        inner = getattr(inner, "source", None)
    if isinstance(inner, PreparedTokens):
        return inner.tokenizer.chat_template
    if inner is None or not inner.options.may_write_conversations:
        return None
    return inner.options.chat() if inner.options.kind or _has_conversation(inner) else None


def _has_conversation(source: RowSource) -> bool:
    # A copy counts its own bad rows.
    num_characters = 0
    try:
        for document in itertools.islice(copy.copy(source).documents(), _MOST_DOCUMENTS):
            if document.marks or document.learned is not None:
                return True
            num_characters += len(document.text)
            if num_characters > _MOST_CHARACTERS:
                return False
    except DataError:
        return False
    return False
