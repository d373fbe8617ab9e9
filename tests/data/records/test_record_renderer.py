"""Rows of every kind as text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from highnoon.data.bad_records import BadRecordError
from highnoon.data.records.read_options import ReadOptions
from highnoon.data.records.record_renderer import RecordRenderer

ASKED = "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n"
ANSWERED = "A<|im_end|>\n"
TURNS = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]


def render(values: dict[str, Any], **options: Any) -> tuple[str, Any]:
    return RecordRenderer(ReadOptions(**options)).render(values, "a:1")


@pytest.mark.parametrize(
    ("values", "options", "text"),
    [
        ({"text": "words", "content": "no"}, {}, "words"),
        ({"content": b"caf\xc3\xa9"}, {}, "café"),
        ({"text": "no", "body": "words"}, {"text_field": "body"}, "words"),
        ({"text": "no", "a": 1}, {"template": "<{a}>"}, "<1>"),
        ({"text": None}, {}, ""),
        ({"messages": None}, {}, ""),
        ({"text": " \n", "content": float("nan")}, {}, ""),
        ({"instruction": None, "input": "", "response": b" "}, {}, ""),
        ({"chosen": None, "rejected": []}, {}, ""),
        ({"messages": {"role": [], "content": []}}, {}, ""),
        ({"body": float("nan")}, {"text_field": "body"}, ""),
        ({"messages": np.array([])}, {"kind": "chat"}, ""),
        ({"prompt": None, "answer": ""}, {"kind": "instruction"}, ""),
        ({"content": " "}, {"kind": "text"}, ""),
        ({"chosen": "", "rejected": ""}, {"kind": "preference"}, ""),
    ],
)
def test_plain_text_is_supervised_whole(values: dict[str, Any], options: dict[str, str], text: str) -> None:
    assert render(values, **options) == (text, None)


@pytest.mark.parametrize(
    "values",
    [
        {"instruction": "Q", "response": "A"},
        {"prompt": b"Q", "output": b"A"},
        {"question": "Q", "answer": "A", "input": ""},
        {"instruction": "Q", "input": None, "response": "A"},
        {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]},
        {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]},
        {"prompt": "Q", "chosen": "A", "rejected": "B"},
        {
            "chosen": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}],
            "rejected": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "B"}],
        },
    ],
)
def test_of_what_asks_and_answers_the_answer_is_supervised(values: dict[str, Any]) -> None:
    assert render(values) == (ASKED + ANSWERED, ((len(ASKED), len(ASKED + ANSWERED)),))


@pytest.mark.parametrize(
    "nothing", [None, "", " \n", b"", b"\t", float("nan"), [], (), {}, np.nan, np.array([])]
)
@pytest.mark.parametrize(
    "record",
    [
        {"text": 0, "messages": TURNS},
        {"text": 0, "conversations": TURNS},
        {"messages": 0, "conversations": TURNS},
        {"text": 0, "content": 0, "question": "Q", "answer": "A"},
        {"instruction": 0, "prompt": "Q", "response": "A"},
        {
            "instruction": 0,
            "prompt": 0,
            "question": "Q",
            "input": 0,
            "response": 0,
            "output": 0,
            "answer": "A",
        },
        {"prompt": "Q", "response": 0, "completion": "A"},
        {"instruction": 0, "input": "Q", "output": "A"},
        {"text": 0, "messages": 0, "response": 0, "prompt": "Q", "chosen": "A", "rejected": "B"},
        {"prompt": 0, "chosen": TURNS, "rejected": [*TURNS[:1], {"role": "assistant", "content": "B"}]},
        {
            "messages": [
                {"role": 0, "content": None, "from": "human", "value": "Q"},
                {"from": 0, "value": 0, "role": "assistant", "content": "A"},
            ]
        },
    ],
)
def test_an_alternative_without_content_is_absent(record: dict[str, Any], nothing: Any) -> None:
    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: filled(part) for name, part in value.items()}
        return (
            [filled(part) for part in value] if isinstance(value, list) else nothing if value == 0 else value
        )

    assert render(filled(record)) == (ASKED + ANSWERED, ((len(ASKED), len(ASKED + ANSWERED)),))
    assert render({"text": nothing, "content": "words"}) == ("words", None)


@pytest.mark.parametrize("nothing", [None, "", "  ", float("nan"), []])
@pytest.mark.parametrize(
    ("record", "kind"),
    [
        ({"instruction": "Q", "response": 0}, "instruction"),
        ({"prompt": "Q", "output": 0}, "instruction"),
        ({"prompt": "Q", "completion": 0}, "instruction"),
        ({"input": "Q", "instruction": 0, "output": 0}, "instruction"),
        ({"instruction": 0, "output": "A"}, "instruction"),
        ({"text": 0, "question": "Q", "answer": 0}, None),
        ({"prompt": "Q", "chosen": 0, "rejected": "B"}, "preference"),
        ({"prompt": "Q", "chosen": "A", "rejected": 0}, "preference"),
        ({"prompt": "Q", "chosen": 0, "rejected": 0}, "preference"),
    ],
)
def test_a_part_without_its_counterpart_is_a_bad_record(
    record: dict[str, Any], kind: str | None, nothing: Any
) -> None:
    for given in (None, kind):
        with pytest.raises(BadRecordError, match="a:1: .* null or empty"):
            render({name: value or nothing for name, value in record.items()}, kind=given)


@pytest.mark.parametrize("words", ["", " ", None])
def test_a_conversation_without_any_answer_is_a_bad_record(words: str | None) -> None:
    turns = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": words, "name": "x"}]
    with pytest.raises(BadRecordError, match="every assistant turn in `messages` is null or empty"):
        render({"messages": turns})
    call = {"role": "assistant", "content": words, "tool_calls": [{"name": "f", "arguments": "{}"}]}
    assert '"name": "f"' in render({"messages": [*turns[:1], call]}).text


def test_an_error_stays_one_short_line_whatever_the_names_of_fields() -> None:
    record = {f"name\n{number}" + "x" * 1000: 1 for number in range(1000)}
    for options in ({}, {"template": "{a}"}, {"text_field": "a"}):
        with pytest.raises(BadRecordError) as error:
            render(record, **options)
        assert len(str(error.value)) < 1000 and "\n" not in str(error.value)


def test_input_follows_the_instruction_after_a_blank_line() -> None:
    text, _ = render({"instruction": "Add.", "input": "1 + 1", "output": "2"})
    assert text.startswith("<|im_start|>user\nAdd.\n\n1 + 1<|im_end|>\n")


def test_a_kind_that_is_given_holds() -> None:
    record = {"text": "words", "instruction": "Q", "response": "A"}
    assert render(record)[0] == "words"
    assert render(record, kind="instruction")[0] == ASKED + ANSWERED
    with pytest.raises(BadRecordError, match="a:1: expected a field `messages` or `conversations`; "):
        render(record, kind="chat")


@pytest.mark.parametrize("prompt", ["Q", [{"role": "user", "content": "Q"}]])
@pytest.mark.parametrize("is_list", [True, False])
def test_a_pair_is_one_prompt_and_two_answers(prompt: Any, is_list: bool) -> None:
    record: dict[str, Any] = {"prompt": prompt, "chosen": "A", "rejected": "B"}
    if is_list:
        record |= {name: [{"role": "assistant", "content": record[name]}] for name in ("chosen", "rejected")}
    assert RecordRenderer(ReadOptions()).pair(record, "a:1") == (ASKED, "A<|im_end|>\n", "B<|im_end|>\n")


@pytest.mark.parametrize(
    ("values", "options", "reason"),
    [
        (
            {"instruction": "Q", "functions": []},
            {},
            "expected a record .* the fields are instruction, functions",
        ),
        ({}, {}, "the fields are none"),
        ({"a": "x"}, {"text_field": "body"}, "no field `body`; the fields are a"),
        ({"text": [5]}, {}, "expected a string `text`; received `text` of type list"),
        ({"text": b"\xff"}, {}, "not UTF-8 at byte 0"),
        ({"text": "a\ud800"}, {}, "lone surrogate at character 1"),
        ({"prompt": "Q", "chosen": 3, "rejected": "B"}, {}, "must be a list of turns"),
        ({"chosen": "A", "rejected": "B"}, {}, "expected a string `prompt`"),
        (
            {"chosen": [{"role": "user", "content": "Q"}], "rejected": "B"},
            {},
            "must end with an assistant turn",
        ),
        (
            {
                "chosen": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}],
                "rejected": [{"role": "user", "content": "P"}, {"role": "assistant", "content": "A"}],
            },
            {},
            "must answer the same prompt",
        ),
    ],
)
def test_a_bad_record_says_where_and_why(
    values: dict[str, Any], options: dict[str, str], reason: str
) -> None:
    with pytest.raises(BadRecordError, match=f"a:1: .*{reason}"):
        render(values, **options)
