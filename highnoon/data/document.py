"""One document, the error of all of data, and what every source of documents promises."""

from __future__ import annotations

import abc
import dataclasses
import hashlib
from collections.abc import Iterator
from typing import NamedTuple


class DataError(ValueError):
    """Data that is missing, damaged or too small, or a request that does not fit it."""


class SourceNotFoundError(DataError):
    """A name, path or glob that stands for no data."""


@dataclasses.dataclass(frozen=True)
class Document:
    """A text, and where it comes from.

    Args:
        text: The document itself, never empty.
        source: The file, collection or module that it was read from.
        id: Its name or number within `source`.
        domain: The kind of text it is, `"default"` where nothing says.
        learned: Stretches of characters `(start, stop)` that a model learns to write, in order and apart;
            the rest is only read. None learns all. The end of the document is learnt where the last stretch
            reaches it.
        marks: Stretches of characters that a chat template wrote and that are single tokens where the
            tokenizer has them as special tokens, in order and apart.
        label: The class of the document, for a classifier; None where nothing says.
    """

    text: str
    source: str = ""
    id: str = ""
    domain: str = "default"
    learned: tuple[tuple[int, int], ...] | None = None
    marks: tuple[tuple[int, int], ...] = ()
    label: str | None = None


class LearnedText(NamedTuple):
    """A text and the stretches of it that are learnt, as in a `Document`."""

    text: str
    learned: tuple[tuple[int, int], ...] | None = None


class DocumentSource(abc.ABC):
    """Documents in a fixed order.

    A subclass sets `name` and gives `documents` and `_describe`, which feeds into the hash all that
    decides the documents: the bytes of the files and the way they are cut.

    `is_streamed` asks a run to read the source forward while it trains, and to keep no tokens. Where
    `has_labels`, every document has a label, and its tokens are stored with it.
    """

    name: str
    is_streamed: bool = False
    has_labels: bool = False

    @abc.abstractmethod
    def documents(self) -> Iterator[Document]:
        """Yields the documents, in the same order each time."""

    @abc.abstractmethod
    def _describe(self, digest: hashlib.blake2b) -> None:
        """Updates `digest` with everything that decides the documents."""

    def fingerprint(self) -> str:
        """Returns a hex hash of the content: a changed byte is another fingerprint, a moved file is not."""
        digest = hashlib.blake2b(type(self).__name__.encode(), digest_size=16)
        self._describe(digest)
        return digest.hexdigest()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"
