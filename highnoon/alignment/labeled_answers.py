"""Answers that are labeled as desirable or not, each with an answer to another prompt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from highnoon.alignment.answer_pairs import (
    AnswerPairs,
    Pair,
    not_a_record,
    record_error,
    require_two_answers,
)
from highnoon.config import ConfigError
from highnoon.data.bad_records import BadRecordError, BadRecords
from highnoon.data.document import Document
from highnoon.data.records.chat_turns import Message
from highnoon.data.records.record_kind import PREFERENCE_FIELDS
from highnoon.data.records.record_label import record_label
from highnoon.data.records.record_source import Record
from highnoon.data.records.record_values import is_absent

DESIRABLE, UNDESIRABLE = "1", "0"
_NAMES = {"1": DESIRABLE, "true": DESIRABLE, "0": UNDESIRABLE, "false": UNDESIRABLE}


class _Answer(NamedTuple):
    record: Record
    prompt: Sequence[Message]
    answer: Sequence[Message]
    label: str


class LabeledAnswers(AnswerPairs):
    """Each labeled answer, followed by the next record's answer put to the same prompt.

    The second document has no label: the divergence from the reference is estimated with it, since it is an
    answer that the prompt did not ask for. It is from the next record with another prompt; the last records
    take that of the first. A record has `prompt` and `completion` (or other names of the two), texts or lists
    of turns, and a `label`: true or 1 for a desirable answer, false or 0 for an undesirable one. A record
    with `chosen` and `rejected` counts as one of each.

    Args:
        source: The records.

    Raises:
        ConfigError: As `AnswerPairs`; in reading, all records have the same prompt.

    Example:

    ```python
    from highnoon.alignment import LabeledAnswers
    from highnoon.data import InMemoryDataset

    records = [
        {"prompt": "2 + 2 =", "completion": "4", "label": True},
        {"prompt": "3 + 3 =", "completion": "7", "label": False},
    ]
    documents = list(LabeledAnswers(InMemoryDataset(records)).documents())
    assert [document.label for document in documents] == ["1", "1", "0", "0"]
    assert "2 + 2 =" in documents[1].text and "7" in documents[1].text
    ```
    """

    has_labels = True

    def pairs(self) -> Iterator[tuple[Record, Pair]]:
        waiting: list[_Answer] = []
        first: _Answer | None = None
        second: _Answer | None = None  # the first with another prompt than the first
        for answers in self.source.read_records(self._answers):
            first = first or answers[0]
            if second is None and answers[0].prompt != first.prompt:
                second = answers[0]
            if waiting and waiting[0].prompt != answers[0].prompt:
                yield from self._with_other(waiting, answers[0])
                waiting = []
            waiting += answers
        if first is None:
            return
        if second is None:
            raise ConfigError(
                f"{self.name}: labeled answers need at least two prompts, since the divergence from the "
                "reference is estimated with answers to others; received one; add records"
            )
        yield from self._with_other(waiting, second if waiting[0].prompt == first.prompt else first)

    def _with_other(self, answers: Sequence[_Answer], other: _Answer) -> Iterator[tuple[Record, Pair]]:
        for record, prompt, answer, label in answers:
            own, mismatched = (
                self.renderer.conversation([*prompt, *turns], len(prompt), record.location)
                for turns in (answer, other.answer)
            )
            yield record, Pair(own, mismatched, label)

    def _answers(self, record: Record | Document, bad: BadRecords) -> list[_Answer] | None:
        try:
            if isinstance(record, Document):
                raise not_a_record(record, "`prompt`, `completion` and `label`")
            if all(not is_absent(record.values.get(field)) for field in PREFERENCE_FIELDS):
                return self._of_preference(record)
            prompt, answer = self.renderer.labeled_answer(record.values, record.location)
            self.renderer.conversation([*prompt, *answer], len(prompt), record.location)
            return [_Answer(record, prompt, answer, self._label(record))]
        except BadRecordError as error:
            bad.take(error)
            return None

    def _of_preference(self, record: Record) -> list[_Answer]:
        require_two_answers(self.renderer, record)
        chosen, rejected = self.renderer.pair_of_turns(record.values, record.location)
        num_shared = next(
            (number for number, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b),
            min(len(chosen), len(rejected)) - 1,
        )
        if not num_shared:
            message = "`chosen` and `rejected` must answer the same prompt; their first turns differ"
            raise record_error(record, message, "two prompts")
        return [
            _Answer(record, turns[:num_shared], turns[num_shared:], label)
            for turns, label in ((chosen, DESIRABLE), (rejected, UNDESIRABLE))
        ]

    def _label(self, record: Record) -> str:
        field = self.renderer.options.label_field
        value: Any = record.values.get(field)
        found = _NAMES.get((record_label(value) or "").lower())
        if found is None:
            raise record_error(
                record,
                f"`{field}` must be true for a desirable answer and false for an undesirable one; received "
                f"{str(value)[:40]!r}; correct it, or name another field with `label_field`",
                "no label",
            )
        return found
