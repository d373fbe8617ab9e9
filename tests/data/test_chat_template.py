"""Conversations as text, and which of it is learnt."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from highnoon.data import DataError
from highnoon.data.bad_rows import BadRowError
from highnoon.data.chat_template import DEFAULT_CHAT_TEMPLATE, ChatTemplate

TURNS = [
    {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": " Ho\n"}, {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hi"},
]
LOOP = "{% for m in messages %}%s{% endfor %}"


def learned_of(template: ChatTemplate, turns: list[dict[str, Any]]) -> list[str]:
    text, learned = template.render(turns, "a:1")
    assert learned is not None
    return [text[start:stop] for start, stop in learned]


def test_the_default_learns_what_the_assistant_says_and_its_end() -> None:
    text, _ = ChatTemplate().render(TURNS[1:3], "a:1")
    assert text == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n Ho\n<|im_end|>\n"
    assert learned_of(ChatTemplate(), TURNS) == [" Ho\n<|im_end|>\n", "Hi<|im_end|>\n"]


def test_a_last_answer_is_learnt_to_the_end_of_the_text() -> None:
    text, learned = ChatTemplate().render(TURNS, "a:1")
    assert learned is not None and learned[-1][1] == len(text)
    text, learned = ChatTemplate().render(TURNS[:4], "a:1")
    assert learned is not None and learned[-1][1] < len(text)


def test_the_default_in_jinja_is_the_default() -> None:
    turns = [turn | {"content": turn["content"].strip()} for turn in TURNS]
    assert ChatTemplate(DEFAULT_CHAT_TEMPLATE).render(turns, "a:1") == ChatTemplate().render(turns, "a:1")


def test_marks_of_the_template_say_what_is_learnt() -> None:
    template = ChatTemplate(LOOP.replace("%s", (
        "[{{ m.role }}]{% if m.role == 'assistant' %}{% generation %}{{ m.content | upper }}</s>"
        "{% endgeneration %}{% else %}{{ m.content }}{% endif %}")))
    assert learned_of(template, TURNS) == [" HO\n</s>", "HI</s>"]


def test_words_of_a_user_equal_to_the_assistants_are_not_learnt() -> None:
    template = ChatTemplate(LOOP.replace("%s", "{{ m.content }}|"))
    text, learned = template.render(TURNS[3:], "a:1")
    assert (text, learned) == ("Hi|Hi|", ((3, 6),))


def test_a_template_may_trim_the_words() -> None:
    template = ChatTemplate(LOOP.replace("%s", "<{{ m.role }}>{{ m.content | trim }}{{ eos_token }}"),
                            variables={"eos_token": "</s>"})
    assert learned_of(template, TURNS) == ["Ho</s>", "Hi</s>"]


def test_an_empty_answer_is_no_stretch() -> None:
    template = ChatTemplate(DEFAULT_CHAT_TEMPLATE)
    assert learned_of(template, [*TURNS[:2], {"role": "assistant", "content": ""}]) == []


@pytest.mark.parametrize(("body", "reason"), [
    ("{{ m.content | upper }}x{{ m.content.split('H')[-1] }}", "repeats the assistant's words"),
    ("{{ m.content | length }}", "changes the assistant's words"),
    ("{{ m.content }}{% if loop.last %}<end>{% endif %}", "writes a turn otherwise when others follow"),
])
def test_a_template_whose_stretches_cannot_be_found_asks_for_marks(body: str, reason: str) -> None:
    with pytest.raises(BadRowError, match=rf"a:1: .*{reason}.*put {{% generation %}}"):
        ChatTemplate(LOOP.replace("%s", body)).render(TURNS, "a:1")


@pytest.mark.parametrize("body", [
    "{{ raise_exception('roles must alternate') }}", "{{ m.content.__class__.__mro__ }}", "{{ 1 / 0 }}",
    "{{ m.missing.field }}", "{{ messages.append(1) }}",
])
def test_a_template_that_fails_or_reaches_out_is_a_bad_row(body: str) -> None:
    with pytest.raises(BadRowError, match="a:1: the chat template fails on this conversation"):
        ChatTemplate(LOOP.replace("%s", body)).render(TURNS, "a:1")


def test_a_row_with_the_marks_is_refused() -> None:
    with pytest.raises(BadRowError, match="a:1: a turn holds U[+]F5A17"):
        ChatTemplate(DEFAULT_CHAT_TEMPLATE).render([{"role": "user", "content": "\U000f5a17"}], "a:1")


def test_words_that_are_no_text_are_a_bad_row() -> None:
    with pytest.raises(BadRowError, match="a:1: the words of a turn must be text; received NoneType"):
        ChatTemplate().render([{"role": "assistant", "content": None}], "a:1")
    with pytest.raises(BadRowError, match="lone surrogate"):
        ChatTemplate().render([{"role": "assistant", "content": "\ud800"}], "a:1")


def test_a_template_that_is_no_jinja_fails_at_once() -> None:
    with pytest.raises(DataError, match=r"`chat_template` is no Jinja template: .* \(line 1\)"):
        ChatTemplate("{% for %}")


def test_without_jinja_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.delitem(sys.modules, "highnoon.data.jinja_chat", raising=False)
    with pytest.raises(ImportError, match=r"pip install highnoon\[chat\]"):
        ChatTemplate("{{ messages }}")
    assert ChatTemplate().render(TURNS, "a:1").text
