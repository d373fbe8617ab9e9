"""Rows of every kind as text."""

from __future__ import annotations

from typing import Any

import pytest

from highnoon.data.bad_rows import BadRowError
from highnoon.data.read_options import ReadOptions
from highnoon.data.row_renderer import RowRenderer

ASKED = "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n"
ANSWERED = "A<|im_end|>\n"


def render(values: dict[str, Any], **options: Any) -> tuple[str, Any]:
    return RowRenderer(ReadOptions(**options)).render(values, "a:1")


@pytest.mark.parametrize(("values", "options", "text"), [
    ({"text": "words", "content": "no"}, {}, "words"),
    ({"content": b"caf\xc3\xa9"}, {}, "café"),
    ({"text": "no", "body": "words"}, {"text_field": "body"}, "words"),
    ({"text": "no", "a": 1}, {"template": "<{a}>"}, "<1>"),
    ({"text": None}, {}, ""), ({"messages": None}, {}, ""),
    ({"instruction": "Q", "response": " "}, {}, ""), ({"prompt": "Q", "output": None}, {}, ""),
])
def test_plain_text_is_learnt_whole(values: dict[str, Any], options: dict[str, str], text: str) -> None:
    assert render(values, **options) == (text, None)


@pytest.mark.parametrize("values", [
    {"instruction": "Q", "response": "A"}, {"prompt": b"Q", "output": b"A"},
    {"question": "Q", "answer": "A", "input": ""}, {"instruction": "Q", "input": None, "response": "A"},
    {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]},
    {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]},
    {"prompt": "Q", "chosen": "A", "rejected": "B"},
    {"chosen": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}],
     "rejected": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "B"}]},
])
def test_of_what_asks_and_answers_the_answer_is_learnt(values: dict[str, Any]) -> None:
    assert render(values) == (ASKED + ANSWERED, ((len(ASKED), len(ASKED + ANSWERED)),))


def test_input_follows_the_instruction_after_a_blank_line() -> None:
    text, _ = render({"instruction": "Add.", "input": "1 + 1", "output": "2"})
    assert text.startswith("<|im_start|>user\nAdd.\n\n1 + 1<|im_end|>\n")


def test_a_kind_that_is_given_holds() -> None:
    row = {"text": "words", "instruction": "Q", "response": "A"}
    assert render(row)[0] == "words"
    assert render(row, kind="instruction")[0] == ASKED + ANSWERED
    with pytest.raises(BadRowError, match="a:1: expected a field `messages` or `conversations`; "):
        render(row, kind="chat")


@pytest.mark.parametrize("prompt", ["Q", [{"role": "user", "content": "Q"}]])
@pytest.mark.parametrize("is_list", [True, False])
def test_a_pair_is_one_prompt_and_two_answers(prompt: Any, is_list: bool) -> None:
    row: dict[str, Any] = {"prompt": prompt, "chosen": "A", "rejected": "B"}
    if is_list:
        row |= {name: [{"role": "assistant", "content": row[name]}] for name in ("chosen", "rejected")}
    assert RowRenderer(ReadOptions()).pair(row, "a:1") == (ASKED, "A<|im_end|>\n", "B<|im_end|>\n")


@pytest.mark.parametrize(("values", "options", "reason"), [
    ({"instruction": "Q", "functions": []}, {}, "expected a row .* the fields are instruction, functions"),
    ({}, {}, "the fields are none"),
    ({"a": "x"}, {"text_field": "body"}, "no field `body`; the fields are a"),
    ({"text": 5}, {}, "expected a string `text`; received `text` of type int"),
    ({"text": b"\xff"}, {}, "not UTF-8 at byte 0"),
    ({"text": "a\ud800"}, {}, "lone surrogate at character 1"),
    ({"prompt": "Q", "chosen": 3, "rejected": "B"}, {}, "must be a list of turns"),
    ({"chosen": "A", "rejected": "B"}, {}, "expected a string `prompt`"),
    ({"chosen": [{"role": "user", "content": "Q"}], "rejected": "B"}, {}, "must end with an answer"),
    ({"chosen": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}],
      "rejected": [{"role": "user", "content": "P"}, {"role": "assistant", "content": "A"}]}, {},
     "must answer one prompt"),
])
def test_a_bad_row_says_where_and_why(values: dict[str, Any], options: dict[str, str], reason: str) -> None:
    with pytest.raises(BadRowError, match=f"a:1: .*{reason}"):
        render(values, **options)
