"""What sources of rows with named columns share: finding the text, and hashing it."""

from __future__ import annotations

import abc
import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from highnoon.data.document import DataError, Document, DocumentSource

TEXT_COLUMNS = ("text", "content", "conversations", "messages")


class HubSource(DocumentSource):
    """Documents in the rows of a collection that is fixed once it is opened.

    The text is the column `text`, else `content`, else the turns of `conversations` or `messages`, each
    written as `role: words`. Rows without text are left out. The fingerprint hashes every text.
    """

    @abc.abstractmethod
    def _rows(self) -> Iterator[Mapping[str, Any]]:
        """Yields the rows, in the same order each time."""

    def documents(self) -> Iterator[Document]:
        for number, row in enumerate(self._rows()):
            text = row_text(row, self.name)
            if text.strip():
                yield Document(text, self.name, str(row.get("id", number)))

    @functools.cached_property
    def _content_hash(self) -> bytes:
        content = hashlib.blake2b(digest_size=16)
        for document in self.documents():
            data = document.text.encode()
            content.update(len(data).to_bytes(8, "little"))
            content.update(data)
        return content.digest()

    def _describe(self, digest: hashlib.blake2b) -> None:
        digest.update(self._content_hash)


def require_text_column(columns: Sequence[str], name: str) -> None:
    """Raises:
        DataError: none of `columns` holds text.
    """
    if not set(TEXT_COLUMNS).intersection(columns):
        raise DataError(f"{name} has no column {', '.join(TEXT_COLUMNS)}, only {', '.join(columns) or 'none'}"
                        f"; write its text to a .jsonl file and give that")


def row_text(row: Mapping[str, Any], name: str) -> str:
    """Returns the text of a row, `""` where its text is missing."""
    value = next((row[column] for column in TEXT_COLUMNS if column in row), None)
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, str):
        return value
    try:
        return "\n\n".join(_turn_text(turn) for turn in value)
    except (TypeError, KeyError):
        raise DataError(f"{name} has text of type {type(value).__name__} where a string or a list of turns "
                        f"was expected; write its text to a .jsonl file and give that") from None


def _turn_text(turn: Mapping[str, Any]) -> str:
    role, words = ("role", "content") if "role" in turn else ("from", "value")
    return f"{turn[role]}: {turn[words]}"
