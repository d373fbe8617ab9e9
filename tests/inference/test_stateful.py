"""A conversation that stays in the cache."""

from __future__ import annotations

import inspect
import math

import pytest

from highnoon.inference import StatefulWrapper, generate
from highnoon.inference.decoding.session import Session


@pytest.fixture
def tokens_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of tokens of every reading into a cache."""
    counts: list[int] = []
    read = Session.read

    def counted(self, token_ids) -> None:
        counts.append(token_ids.shape[1])
        read(self, token_ids)

    monkeypatch.setattr(Session, "read", counted)
    return counts


def chat(model, tokenizer, **kwargs) -> StatefulWrapper:
    return StatefulWrapper(model, tokenizer=tokenizer, **kwargs)


def reference(model, tokenizer, transcript: str, **kwargs) -> str:
    return generate(
        model, transcript, tokenizer=tokenizer, strip_prompt=True, stop_sequences=["\nUser:"], **kwargs
    )


def test_the_documented_arguments_and_defaults() -> None:
    parameters = inspect.signature(StatefulWrapper).parameters
    assert parameters["max_history"].default == 4096
    assert parameters["system_prompt"].default is None


def test_each_answer_is_what_the_whole_transcript_gives(printable_model, tokenizer) -> None:
    talk = chat(printable_model, tokenizer, system_prompt="Be brief.")
    transcript = "System: Be brief.\n"
    for seed, question in enumerate(("Hello", "And then?", "Why?")):
        talk.add_user_message(question)
        transcript += f"User: {question}\nAssistant:"
        text = generate(
            printable_model, transcript, max_length=30, seed=seed, tokenizer=tokenizer, strip_prompt=True
        )
        assert talk.generate(max_length=30, seed=seed) == text.strip()
        transcript += text + "\n"
    assert [message["role"] for message in talk.get_history()] == ["user", "assistant"] * 3


def test_only_new_tokens_are_read_at_the_next_turn(printable_model, tokenizer, tokens_read) -> None:
    talk = chat(printable_model, tokenizer)
    talk.add_user_message("Hello")
    talk.generate(max_length=20, temperature=0)
    assert tokens_read == [len("BUser: Hello\nAssistant:") - 1]
    talk.add_user_message("More")
    talk.generate(max_length=20, temperature=0)
    # All of the answer but its last token, which was drawn and not read, is in the cache.
    assert tokens_read[1] == 1 + len("\nUser: More\nAssistant:") - 1


def test_an_answer_cut_at_a_stop_text_is_read_again(printable_model, tokenizer, tokens_read) -> None:
    transcript = "User: Hello\nAssistant:"
    whole = reference(printable_model, tokenizer, transcript, max_length=24, seed=1)
    stop = whole[2:4]
    talk = chat(printable_model, tokenizer)
    talk.add_user_message("Hello")
    answer = talk.generate(max_length=24, seed=1, stop_sequences=stop)
    assert answer == whole[:2].strip()
    transcript += whole[:2] + "\nUser: More\nAssistant:"
    expected = reference(printable_model, tokenizer, transcript, max_length=24, seed=2)
    tokens_read.clear()
    talk.add_user_message("More")
    assert talk.generate(max_length=24, seed=2) == expected.strip()
    assert tokens_read == [len(":" + whole[:2] + "\nUser: More\nAssistant:") - 1]


def test_messages_of_both_sides_can_be_given(printable_model, tokenizer) -> None:
    talk = chat(printable_model, tokenizer)
    talk.add_user_message("1 + 1?")
    talk.add_assistant_message("2")
    talk.add_user_message("2 + 2?")
    answer = talk.generate(max_length=10, temperature=0)
    transcript = "User: 1 + 1?\nAssistant: 2\nUser: 2 + 2?\nAssistant:"
    assert answer == reference(printable_model, tokenizer, transcript, max_length=10, temperature=0).strip()
    assert talk.get_history() == [
        {"role": "user", "content": "1 + 1?"},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "2 + 2?"},
        {"role": "assistant", "content": answer},
    ]


def test_a_reset_forgets_all_but_the_system_prompt(printable_model, tokenizer) -> None:
    talk = chat(printable_model, tokenizer, system_prompt="S")
    first = []
    for _ in range(2):
        talk.add_user_message("Hello")
        first.append(talk.generate(max_length=10, seed=1))
        talk.reset()
        assert talk.get_history() == []
    assert (
        first[0]
        == first[1]
        == reference(
            printable_model, tokenizer, "System: S\nUser: Hello\nAssistant:", max_length=10, seed=1
        ).strip()
    )


def test_the_oldest_messages_leave_a_conversation_that_is_too_long(printable_model, tokenizer) -> None:
    talk = chat(printable_model, tokenizer, max_history=75, system_prompt="S")
    for word in ("alpha", "beta"):
        talk.add_user_message(word * 4)
        talk.add_assistant_message("ok")
    talk.add_user_message("now")
    answer = talk.generate(max_length=10, temperature=0)
    kept = "System: S\nUser: now\nAssistant:"
    assert answer == reference(printable_model, tokenizer, kept, max_length=10, temperature=0).strip()
    assert len(talk.get_history()) == 6


def test_what_cannot_be_answered_is_refused(printable_model, tokenizer) -> None:
    with pytest.raises(ValueError, match="needs a tokenizer"):
        StatefulWrapper(printable_model)
    with pytest.raises(ValueError, match="`max_history` must be at least 2"):
        chat(printable_model, tokenizer, max_history=1)
    with pytest.raises(ValueError, match="`max_history` must be a whole number; received nan"):
        chat(printable_model, tokenizer, max_history=math.nan)
    talk = chat(printable_model, tokenizer, max_history=64)
    with pytest.raises(ValueError, match="`temperature`.*received nan"):
        talk.require_options(temperature=math.nan)
    with pytest.raises(ValueError, match="call `add_user_message` first"):
        talk.generate()
    talk.add_user_message("x" * 100)
    with pytest.raises(ValueError, match="shorten it"):
        talk.generate(max_length=5)
