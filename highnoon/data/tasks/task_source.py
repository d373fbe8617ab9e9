"""The documents and examples of a task."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from highnoon.data.bad_records import BadRecordError, BadRecords
from highnoon.data.document import Document
from highnoon.data.records.conversation_text import ConversationText
from highnoon.data.records.id_check import IdCheck
from highnoon.data.records.read_options import ReadOptions
from highnoon.data.records.record_renderer import RecordRenderer
from highnoon.data.records.record_source import Convert, Record, RecordSource, own_field
from highnoon.data.tasks.task_definition import TaskDefinition
from highnoon.data.tasks.task_example import SYNTHETIC, TaskExample
from highnoon.data.tasks.task_fields import read_example

T = TypeVar("T")

# Increase it when equal examples give other documents or another split than before.
_VERSION = 1


class TaskPart(NamedTuple):
    """Some of a task's records.

    Args:
        source: The source of the records.
        is_validation_only: Whether all of them are held out.
    """

    source: RecordSource
    is_validation_only: bool = False


ConvertOfPart = Callable[[TaskPart, Record | Document, BadRecords], T | None]


class TaskSource(RecordSource):
    """Documents of a task: each example, written by its template, with the answer alone supervised.

    The domain of a document is the label of the task, `synthetic_...` if a generator made its records. The
    split holds documents out by their prompts, see `TaskExample.split_hash`.

    Args:
        definition: The task.
        parts: Its records.
        options: `chat_template`, and what happens to bad records.
        is_synthetic: Whether a generator made the records.
        name: The name in reports; None uses `task:NAME` or `synthetic:NAME`.
    """

    has_split_hashes = True

    def __init__(
        self,
        definition: TaskDefinition,
        parts: Sequence[TaskPart],
        options: ReadOptions | None = None,
        *,
        is_synthetic: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(options)
        self.definition = definition
        self.parts_of_task = list(parts)
        self.is_synthetic = is_synthetic
        self.name = name or f"{SYNTHETIC if is_synthetic else 'task'}:{definition.name}"

    @property
    def label(self) -> str:
        """The task's name in reports and metrics."""
        return f"{SYNTHETIC}_{self.definition.name}" if self.is_synthetic else self.definition.name

    def documents(self) -> Iterator[Document]:
        renderer = RecordRenderer(self.options)
        ids = IdCheck() if self.options.check_ids else None

        def convert(part: TaskPart, record: Record | Document, bad: BadRecords) -> Document | None:
            example = self._example(part, record, bad)
            if example is None or (ids is not None and _is_doubled(ids, example, record, bad)):
                return None
            return _document(example, renderer, record, bad)

        return self._each(self._new_bad_records(), convert)

    def examples(self) -> Iterator[TaskExample]:
        """Yields the examples, in the order of the documents.

        If the task accepts the answers of all examples with one prompt, each has those of all of them.
        """
        if not self.definition.joins_expected:
            return self._each(self._new_bad_records(), self._example)
        accepted: dict[int, list[object]] = {}
        for example in self._each(self._new_bad_records(), self._example):
            found = accepted.setdefault(example.split_hash, [])
            found += [value for value in example.expected if value not in found]
        return (
            dataclasses.replace(example, expected=list(accepted[example.split_hash]))
            for example in self._each(self._new_bad_records(), self._example)
        )

    def _each(self, bad: BadRecords, convert: ConvertOfPart[T]) -> Iterator[T]:
        for part in self.parts_of_task:
            yield from part.source._read(bad, functools.partial(convert, part))

    def _read(self, bad: BadRecords, convert: Convert[T]) -> Iterator[T]:
        return self._each(bad, lambda part, record, counted: convert(record, counted))

    def _example(self, part: TaskPart, record: Record | Document, bad: BadRecords) -> TaskExample | None:
        try:
            if isinstance(record, Document):
                own = record.id
                values: Mapping[str, Any] = {"text": record.text}
            else:
                own, values = own_field(record, "id") or record.id, record.values
            example = read_example(self.definition, values, record.location)
        except BadRecordError as error:
            bad.take(error)
            return None
        if example is None:
            bad.count(f"no example of {self.definition.name}", record.location)
            return None
        return dataclasses.replace(
            example,
            id=f"{part.source.name}/{own}",
            is_synthetic=self.is_synthetic,
            is_validation_only=part.is_validation_only,
        )

    def _describe(self, digest: hashlib.blake2b) -> None:
        kind = type(self.definition)
        about = [_VERSION, kind.__name__, kind.name, kind.version, self.is_synthetic]
        digest.update(json.dumps([*about, self.options.describe()]).encode())
        for part in self.parts_of_task:
            digest.update(json.dumps(part.is_validation_only).encode())
            part.source._describe(digest)


def _is_doubled(ids: IdCheck, example: TaskExample, record: Record | Document, bad: BadRecords) -> bool:
    """Returns whether a record has the `id` of an earlier one of its file, which is bad."""
    if isinstance(record, Document) or not own_field(record, "id"):
        return False
    if not ids.is_doubled(record.file, record.domain, record.source, example.id):
        return False
    bad.take(
        BadRecordError(
            f"{record.location}: another record of {record.file or record.source} has the id "
            f"{own_field(record, 'id')!r} already; give each record its own id, or do not check ids "
            f"(--no-check-ids)",
            "duplicate id",
            record.location,
        )
    )
    return True


def _document(
    example: TaskExample, renderer: RecordRenderer, record: Record | Document, bad: BadRecords
) -> Document | None:
    try:
        written = renderer.render(example.record(), record.location)
    except BadRecordError as error:
        bad.take(error)
        return None
    if not written.text.strip():
        bad.count("empty document", record.location)
        return None
    source, _, own = example.id.rpartition("/")
    return Document(
        written.text,
        source,
        own,
        example.label,
        written.supervised,
        written.marks if isinstance(written, ConversationText) else (),
        location=record.location,
        split_hash=example.split_hash,
    )
