"""Function calling records become text whose supervised part is what the assistant writes."""

from __future__ import annotations

import json

import pytest

from highnoon.data import DataError, open_source
from highnoon.tokenization import ChatTemplate

TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
ARGUMENTS = {"city": "Zürich"}
CALL = '<tool_call>{"name": "weather", "arguments": {"city": "Zürich"}}</tool_call>'


def _openai(arguments, content=None):
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": arguments}}
    return [
        {"role": "user", "content": [{"type": "text", "text": "Weather"}, {"type": "text", "text": "?"}]},
        {"role": "assistant", "content": content, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": '{"degrees": 7}'},
        {"role": "assistant", "content": "Seven."},
    ]


def _supervised(record, **options):
    (document,) = open_source([record], **options).documents()
    return document.text, [document.text[start:stop] for start, stop in document.supervised]


def test_arguments_as_text_and_as_object_are_one_text():
    text, learned = _supervised({"messages": _openai(json.dumps(ARGUMENTS)), "tools": TOOLS})
    assert learned == [f"{CALL}<|im_end|>\n", "Seven.<|im_end|>\n"]
    assert text.startswith('<|im_start|>system\n<tools>\n{"name": "weather"')
    assert '<|im_start|>tool\n{"degrees": 7}<|im_end|>' in text and "user\nWeather?<|im_end|>" in text
    assert _supervised({"messages": _openai(ARGUMENTS), "tools": json.dumps(TOOLS)}) == (text, learned)
    assert f"Let me look.\n{CALL}" in _supervised({"messages": _openai(ARGUMENTS, "Let me look.")})[0]


def test_a_system_turn_is_kept_before_the_tools_and_content_may_be_missing():
    turns = _openai(ARGUMENTS)
    del turns[1]["content"]
    text, _ = _supervised({"messages": [{"role": "system", "content": "Be kind."}, *turns], "tools": TOOLS})
    assert text.startswith("<|im_start|>system\nBe kind.\n\n<tools>") and text.count("system\n") == 1


def test_the_forms_of_sharegpt_and_of_the_former_api():
    _, learned = _supervised(
        {
            "conversations": [
                {"from": "human", "value": "Weather?"},
                {"from": "function_call", "value": '{"name": "weather", "arguments": {}}'},
                {"from": "observation", "value": "7"},
                {"from": "gpt", "value": "Seven."},
            ]
        }
    )
    assert learned == ['{"name": "weather", "arguments": {}}<|im_end|>\n', "Seven.<|im_end|>\n"]
    call = {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": "{}"}}
    result = {"role": "function", "name": "weather", "content": "7"}
    _, learned = _supervised({"messages": [{"role": "user", "content": "?"}, call, result]})
    assert learned == ['<tool_call>{"name": "weather", "arguments": {}}</tool_call><|im_end|>\n']


def test_a_jinja_template_receives_tools_and_calls():
    pytest.importorskip("jinja2")
    template = ChatTemplate(
        "{% if tools %}[{{ tools[0].function.name }}]{% endif %}{% for m in messages %}<|{{ m.role }}|>"
        "{% if m.role == 'assistant' %}{% generation %}{{ m.content or '' }}{% if m.tool_calls %}"
        "{{ m.tool_calls[0].function.arguments }}{% endif %}<|end|>{% endgeneration %}{% else %}"
        "{{ m.content }}<|end|>{% endif %}{% endfor %}"
    )
    text, learned = _supervised({"messages": _openai("{}"), "tools": TOOLS}, chat_template=template)
    assert text.startswith("[weather]<|user|>Weather?<|end|>") and learned == ["{}<|end|>", "Seven.<|end|>"]
    assert not _supervised({"messages": _openai("{}")}, chat_template=template)[0].startswith("[")


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image_url"}]},
                    {"role": "assistant", "content": "A"},
                ]
            },
            "record 0: .*a part of type 'image_url'",
        ),
        ({"messages": _openai("{}"), "tools": "no json"}, "record 0: `tools` must be a list of objects"),
        ({"messages": _openai("{}"), "tools": [3]}, "record 0: `tools` must be a list of objects"),
    ],
)
def test_what_cannot_be_written_names_the_record(record, problem):
    with pytest.raises(DataError, match=problem):
        list(open_source([record]).documents())


def test_numbers_and_booleans_are_text_as_in_json_and_null_is_nothing():
    records = [{"text": 5}, {"text": 2.5}, {"text": True}, {"text": None}, {"text": float("nan")}]
    source = open_source(records)
    assert [document.text for document in source.documents()] == ["5", "2.5", "true"]
    assert source.bad_records.report()["reasons"]["empty document"]["count"] == 2
    (document,) = open_source([{"question": "2 + 3?", "answer": 5, "label": 7}]).documents()
    assert "assistant\n5<|im_end|>" in document.text and document.label == "7"
