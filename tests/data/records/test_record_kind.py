"""What a record is, told by its fields."""

from __future__ import annotations

import pytest

from highnoon.data.records.record_kind import record_kind


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        (("content", "messages", "text"), "text"),
        (("content", "messages", "instruction", "response"), "chat"),
        (("conversations",), "chat"),
        (("prompt", "chosen", "rejected", "answer"), "instruction"),
        (("content", "prompt", "chosen", "rejected"), "preference"),
        (("question", "answer", "content"), "instruction"),
        (("instruction", "content"), "text"),
        (("instruction", "functions", "expected"), None),
        (("chosen",), None),
    ],
)
def test_the_first_kind_in_the_documented_order_holds(fields: tuple[str, ...], kind: str | None) -> None:
    assert record_kind(fields) == kind
