"""Records with a better and a worse answer, as pairs of documents."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from highnoon.alignment.answer_pairs import (
    AnswerPairs,
    Pair,
    not_a_record,
    record_error,
    require_two_answers,
)
from highnoon.data.bad_records import BadRecordError, BadRecords
from highnoon.data.document import Document, DocumentSource
from highnoon.data.records.record_source import Record
from highnoon.data.records.record_values import is_absent


class PreferenceDocuments(AnswerPairs):
    """The better answer of each record, followed by the worse one.

    A record has `chosen` and `rejected`: texts that answer `prompt`, lists of turns that continue it, or
    entire conversations, whose prompt is the turns that are equal in both.

    Args:
        source: The records.
        margin_field: The field with the strength of a preference, a number; None for none.

    Raises:
        ConfigError: As `AnswerPairs`.

    Example:

    ```python
    from highnoon.alignment import PreferenceDocuments
    from highnoon.data import InMemoryDataset

    records = [{"prompt": "2 + 2 =", "chosen": "4", "rejected": "5"}]
    better, worse = PreferenceDocuments(InMemoryDataset(records)).documents()
    assert better.text.replace("4", "5") == worse.text.replace("4", "5")
    assert better.split_hash == worse.split_hash
    ```
    """

    def __init__(self, source: DocumentSource, margin_field: str | None = None) -> None:
        super().__init__(source)
        self.margin_field = margin_field
        self.has_labels = margin_field is not None

    def pairs(self) -> Iterator[tuple[Record, Pair]]:
        def convert(record: Record | Document, bad: BadRecords) -> tuple[Record, Pair] | None:
            try:
                if isinstance(record, Document):
                    raise not_a_record(record, "`prompt`, `chosen` and `rejected`")
                chosen, rejected = require_two_answers(self.renderer, record)
                return record, Pair(chosen, rejected, self._margin(record))
            except BadRecordError as error:
                bad.take(error)
                return None

        return self.source.read_records(convert)

    def describe(self) -> str:
        return f"margin {self.margin_field}"

    def _margin(self, record: Record) -> str | None:
        if self.margin_field is None:
            return None
        value: Any = record.values.get(self.margin_field)
        try:
            margin = math.nan if is_absent(value) else float(value)
        except (TypeError, ValueError):
            margin = math.nan
        if not math.isfinite(margin):
            raise record_error(
                record,
                f"`{self.margin_field}` must be the margin of the preference, a number; received "
                f"{str(value)[:40]!r}; fill it in, or leave out `margin_field`",
                "no margin",
            )
        return repr(margin)
