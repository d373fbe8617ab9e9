"""A document, the base class of document sources, and the errors of the data package."""

from __future__ import annotations

import abc
import dataclasses
import hashlib
from collections.abc import Iterator
from typing import NamedTuple


class DataError(ValueError):
    """Data that is missing, damaged or too small, or an option that does not fit it."""


class SourceNotFoundError(DataError):
    """A name, path or glob that matches no data."""


# Spans of characters (start, stop), in order and without overlap.
Spans = tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True, init=False)
class Document:
    """A text and its origin.

    Args:
        text: The text, never empty.
        source: The file, dataset or module that it was read from.
        id: Its name or number within `source`.
        domain: The kind of text; `"default"` if not specified.
        supervised: Spans of characters `(start, stop)` whose tokens count in the loss, in order and without
            overlap; the other characters are context only. None supervises the whole text. The token that
            ends the document is supervised if the last span reaches the end of the text.
        marks: Spans of characters that a chat template wrote and that become single tokens if the tokenizer
            has them as special tokens, in order and without overlap.
        label: The class of the document, for a classifier; None if it has none.
        location: Where it was read from, such as `a.jsonl:3`; documents that differ in it alone are equal.
        split_hash: The 64-bit number that determines the side of the split; None uses the hash of `text`, see
            `tokens.splitting.document_hash`. A source sets it to hold documents out by a part of their text,
            such as the prompt of a conversation.
        learned: The former name of `supervised`.
    """

    text: str
    source: str = ""
    id: str = ""
    domain: str = "default"
    supervised: Spans | None = None
    marks: Spans = ()
    label: str | None = None
    location: str = dataclasses.field(default="", compare=False, repr=False)
    split_hash: int | None = dataclasses.field(default=None, repr=False)

    def __init__(
        self,
        text: str,
        source: str = "",
        id: str = "",
        domain: str = "default",
        supervised: Spans | None = None,
        marks: Spans = (),
        label: str | None = None,
        location: str = "",
        split_hash: int | None = None,
        *,
        learned: Spans | None = None,
    ) -> None:
        set_field = object.__setattr__
        set_field(self, "text", text)
        set_field(self, "source", source)
        set_field(self, "id", id)
        set_field(self, "domain", domain)
        set_field(self, "supervised", supervised if learned is None else learned)
        set_field(self, "marks", marks)
        set_field(self, "label", label)
        set_field(self, "location", location)
        set_field(self, "split_hash", split_hash)

    @property
    def learned(self) -> Spans | None:
        """The former name of `supervised`."""
        return self.supervised


class SupervisedText(NamedTuple):
    """A text and its supervised spans, as in a `Document`."""

    text: str
    supervised: Spans | None = None


class DocumentSource(abc.ABC):
    """Base class of sources: documents in a fixed order.

    A subclass sets `name` and implements `documents` and `_describe`. `_describe` adds everything that
    determines the documents to the hash: the bytes of the files and the way they are split.

    `is_streamed` tells a run to read the source during training and to store no tokens. If `has_labels`,
    every document has a label, which is stored with its tokens. If `has_split_hashes`, every document has a
    `split_hash`.
    """

    name: str
    is_streamed: bool = False
    has_labels: bool = False
    has_split_hashes: bool = False

    @abc.abstractmethod
    def documents(self) -> Iterator[Document]:
        """Yields the documents, in the same order each time."""

    @abc.abstractmethod
    def _describe(self, digest: hashlib.blake2b) -> None:
        """Updates `digest` with everything that determines the documents."""

    def fingerprint(self) -> str:
        """Returns a hex hash of the content: a changed byte changes it, moving a file does not."""
        digest = hashlib.blake2b(type(self).__name__.encode(), digest_size=16)
        self._describe(digest)
        return digest.hexdigest()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"
