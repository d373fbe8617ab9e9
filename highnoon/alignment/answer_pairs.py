"""Base class of sources whose documents come in pairs that are never separated."""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from highnoon.config import ConfigError
from highnoon.data.bad_records import BadRecordError
from highnoon.data.document import Document, DocumentSource
from highnoon.data.records.conversation_text import ConversationText
from highnoon.data.records.record_renderer import RecordRenderer
from highnoon.data.records.record_source import Record, RecordSource, own_field
from highnoon.data.sources.hub_source import HubSource
from highnoon.data.tokens.splitting import split_hash


class Pair(NamedTuple):
    """Two conversations with one prompt.

    Args:
        first: The better answer, or the answer that has a label.
        second: The worse answer, or an answer to another prompt.
        label: What is known of the pair, such as its margin; None for nothing.
    """

    first: ConversationText
    second: ConversationText
    label: str | None = None


class AnswerPairs(DocumentSource):
    """The answers of a source of records, two documents a pair: documents 2 i and 2 i + 1 have one prompt.

    The answers are supervised, up to and including the token that ends the document. Prompt and answer are
    tokenized separately, so that the prompt has the same ids in both. Both are on one side of the split,
    which depends on the prompt alone.

    A subclass implements `pairs`.

    Args:
        source: Records: files, folders of files, a dataset of a hub, or a list of records.

    Raises:
        ConfigError: `source` has no records, or is a stream.
    """

    has_split_hashes = True

    def __init__(self, source: DocumentSource) -> None:
        if not isinstance(source, RecordSource):
            raise ConfigError(
                f"alignment reads records with a prompt and its answers; received {source}, which has "
                f"documents alone; give the records themselves, such as a .jsonl file"
            )
        if source.is_streamed:
            raise ConfigError(
                f"alignment reads {source.name} before the first step and cannot stream it; read it without "
                f"`stream`"
            )
        self.source = source
        self.name = source.name
        self.renderer = RecordRenderer(source.options)

    @abc.abstractmethod
    def pairs(self) -> Iterator[tuple[Record, Pair]]:
        """Yields the pairs and the records that they are from, in the same order each time."""

    def describe(self) -> str:
        """Returns all that determines the pairs besides the records."""
        return ""

    def documents(self) -> Iterator[Document]:
        for record, pair in self.pairs():
            origin = own_field(record, "source") or record.source, own_field(record, "id") or record.id
            assert pair.first.supervised is not None
            prompt = pair.first.text[: pair.first.supervised[0][0]]
            for text in pair[:2]:
                yield Document(
                    text.text,
                    *origin,
                    record.domain,
                    text.supervised,
                    text.marks,
                    pair.label,
                    record.location,
                    split_hash(prompt),
                )

    def _describe(self, digest: hashlib.blake2b) -> None:
        digest.update(self.describe().encode())
        if not isinstance(self.source, HubSource):
            digest.update(self.source.fingerprint().encode())
            return
        # The fingerprint of a hub's dataset covers what it renders as text: of two answers the better one.
        for document in self.documents():
            digest.update(repr((document.text, document.supervised, document.marks, document.label)).encode())


def not_a_record(document: Document, fields: str) -> BadRecordError:
    """Returns the error about text where records are expected."""
    location = document.location or f"{document.source} document {document.id}"
    return BadRecordError(
        f"{location}: a text file has no records; use records with {fields}", "no record", location
    )


def record_error(record: Record, message: str, reason: str) -> BadRecordError:
    """Returns the error about a record, with its location."""
    return BadRecordError(f"{record.location}: {message}", reason, record.location)


def require_two_answers(
    renderer: RecordRenderer, record: Record
) -> tuple[ConversationText, ConversationText]:
    """Returns the conversations with the better and with the worse answer of a record.

    Raises:
        BadRecordError: both are equal, an answer is missing, or the prompts differ.
    """
    chosen, rejected = renderer.pair_of_texts(record.values, record.location)
    if chosen.text == rejected.text:
        raise record_error(
            record,
            "`chosen` and `rejected` must differ; received one answer twice; remove the record",
            "equal answers",
        )
    return chosen, rejected


def as_pairs(source: Any, pairs_class: type[AnswerPairs], **options: Any) -> AnswerPairs:
    """Returns a source as pairs; one that has pairs already as it is."""
    return source if isinstance(source, pairs_class) else pairs_class(source, **options)
