"""Conversations in the forms that records have them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from highnoon.data.bad_records import BadRecordError
from highnoon.data.records.chat_turns import chat_turns

TURNS = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]


@pytest.mark.parametrize(
    "value",
    [
        TURNS,
        [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}],
        {"role": ["user", "assistant"], "content": ["a", "b"]},
        {"role": np.array([b"user", b"assistant"], object), "content": np.array([b"a", b"b"], object)},
        '[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]',
        [
            {"role": "user", "content": [{"type": "text", "text": "a"}]},
            {"role": "assistant", "content": [{"type": "text", "text": ""}, {"type": "text", "text": "b"}]},
        ],
    ],
)
def test_every_form_gives_the_same_turns(value: Any) -> None:
    assert chat_turns(value, "messages", "a:1") == TURNS


def test_what_else_a_turn_has_stays() -> None:
    turn = {"role": "assistant", "content": None, "tool_calls": [1]}
    assert chat_turns([turn], "messages", "a:1") == [turn]


def test_parts_that_are_not_all_text_stay_for_templates() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "b"}}]
    assert chat_turns([{"role": "user", "content": parts}], "messages", "a:1")[0]["content"] == parts


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ([], "an empty list"),
        ("words", "'words', text that is not JSON"),
        (3, "int"),
        (["a"], "a turn of type str"),
        ([{"role": "user"}], "a turn with role alone"),
        ([{"role": 1, "content": ""}], "a role of type int"),
        ({"role": ["user"], "content": []}, "columns of several lengths"),
    ],
)
def test_what_is_no_conversation_is_named(value: Any, found: str) -> None:
    with pytest.raises(BadRecordError, match=f"a:1: `messages` must be a list of turns .* received {found}"):
        chat_turns(value, "messages", "a:1")
