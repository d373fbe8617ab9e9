"""Options of reading records."""

from __future__ import annotations

from typing import Any

import pytest

from highnoon.data import DataError
from highnoon.data.records.conversation_text import ChatTemplate
from highnoon.data.records.read_options import ReadOptions


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"kind": "chats"}, "`kind` must be one of text, chat, instruction, preference; received 'chats'"),
        ({"text_field": "a", "template": "{a}"}, "`text_field` and `template` exclude each other"),
        ({"template": "{a}", "kind": "chat"}, "`template` makes a record plain text"),
        ({"learned_fields": "a"}, "`learned_fields` names fields of a `template`"),
        ({"template": "no field"}, "`template` must name fields"),
        ({"max_line_bytes": 0}, "`max_line_bytes` must be at least 1; received 0"),
    ],
)
def test_options_that_contradict_are_an_error(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        ReadOptions(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"text_field": "a"},
        {"template": "{a}"},
        {"template": "{a}", "learned_fields": "a"},
        {"kind": "chat"},
        {"chat_template": "{{ messages }}"},
        {"skip_bad": True},
        {"skip_bad": True, "max_line_bytes": 9},
        {"chat_template": ChatTemplate("{{ messages }}", {"eos_token": "x"})},
    ],
)
def test_what_decides_documents_is_described(options: dict[str, Any]) -> None:
    assert ReadOptions(**options).describe() != ReadOptions().describe()
    assert ReadOptions(**options).describe() == ReadOptions(**options).describe()


def test_checking_ids_decides_documents_only_where_doubled_ones_are_skipped() -> None:
    assert ReadOptions(check_ids=True).describe() == ReadOptions().describe()
    assert ReadOptions(check_ids=True, skip_bad=True).describe() != ReadOptions(skip_bad=True).describe()
