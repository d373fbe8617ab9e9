"""A conversation is asked for in the tokens that it was trained in, and its end mark is never shown."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import tokenizers
from keras import ops
from tokenizers import decoders, models, pre_tokenizers

from highnoon.data.tokens.encoding import encode_batch
from highnoon.inference import StatefulWrapper, StreamingGenerator, generate
from highnoon.tokenization import (
    ByteTokenizer,
    ChatTemplate,
    PretrainedTokenizer,
    QWTTextTokenizer,
    Tokenizer,
)
from highnoon.tokenization.chat.chat_template import DEFAULT_CHAT_TEMPLATE
from highnoon.tokenization.marked_text import encode_prompt

TURNS = [
    {"role": "system", "content": "Be brief, lower."},
    {"role": "user", "content": "low <|im_end|> [x]"},
    {"role": "assistant", "content": " lowest\n"},
    {"role": "user", "content": "why?\n"},
    {"role": "assistant", "content": "naïve lower"},
    {"role": "user", "content": "so?"},
]
ANSWER = {"role": "assistant", "content": "lower, yes"}
MARKS = ("<|im_start|>", "<|im_end|>")
TEXTS = ["low lower lowest user assistant why so"] * 9

BRACKETS = "{{ bos_token }}{% for m in messages %}<s>[{{ m.role }}] {{ m.content | trim }} </s>\n{% endfor %}"
PROMPTED = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' %}<think>\n</think>{% endif %}{{ m.content }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEMPLATES = [
    ChatTemplate(),
    ChatTemplate(DEFAULT_CHAT_TEMPLATE),
    ChatTemplate(BRACKETS, {"bos_token": "<s>"}),
    ChatTemplate(PROMPTED),
]


def pretrained() -> PretrainedTokenizer:
    engine = tokenizers.Tokenizer(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    engine.train_from_iterator(
        TEXTS,
        tokenizers.trainers.BpeTrainer(
            vocab_size=290,
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            special_tokens=["<s>", "</s>", *MARKS],
        ),
    )
    return PretrainedTokenizer(engine.to_str())


TOKENIZERS: list[Tokenizer] = [
    ByteTokenizer(),
    QWTTextTokenizer().train_from_texts(TEXTS, 290),
    QWTTextTokenizer().train_from_texts(TEXTS, 290, chat_marks=MARKS),
    pretrained(),
]


class ScriptedModel:
    """Says what a script says: at each position the id that stands there."""

    def __init__(self, script: list[int], vocab_size: int):
        self.script, self.vocab_size, self.max_seq_length = script, vocab_size, 512
        self.tokenizer: Any = None
        self.variables: list[Any] = []

    def initial_cache(self, batch_size: int, max_length: int) -> Any:
        return {"none": ops.zeros((batch_size, max_length, 1))}

    def decode(self, token_ids: Any, cache: Any, index: Any, padding: Any = None) -> Any:
        script = ops.convert_to_tensor(np.array([*self.script, *[9] * 600], np.int32))
        first = ops.zeros((token_ids.shape[0],), "int32") if padding is None else padding
        places = index + 1 + ops.arange(token_ids.shape[1], dtype="int32")[None] - first[:, None]
        return 50.0 * ops.one_hot(ops.take(script, ops.maximum(places, 0)), self.vocab_size), cache


def talk(tokenizer: Tokenizer, template: ChatTemplate, turns: list[dict[str, str]]) -> StatefulWrapper:
    model = ScriptedModel([], tokenizer.vocab_size)
    chat = StatefulWrapper(
        model, system_prompt=turns[0]["content"], tokenizer=tokenizer.with_chat_template(template)
    )
    for turn in turns[1:]:
        add = chat.add_user_message if turn["role"] == "user" else chat.add_assistant_message
        add(turn["content"])
    return chat


@pytest.mark.parametrize("template", TEMPLATES, ids=["default", "jinja", "brackets", "prompted"])
@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=["byte", "bpe", "marked", "pretrained"])
@pytest.mark.parametrize("num_turns", [2, 4, 6])
def test_a_prompt_has_the_ids_of_the_training_row_up_to_the_answer(
    tokenizer: Tokenizer, template: ChatTemplate, num_turns: int
) -> None:
    turns = TURNS[:num_turns]
    prompt = talk(tokenizer, template, turns)._context(10**6, 1)
    text, supervised, marks = template.render([*turns, ANSWER])
    batch = encode_batch([text], [supervised], tokenizer, [marks])
    assert batch.supervised is not None
    assert batch.tokens[: len(prompt)].tolist() == prompt
    assert not batch.supervised[len(prompt) - 1] and batch.supervised[len(prompt) :].all()


@pytest.mark.parametrize("tokenizer", TOKENIZERS[2:], ids=["marked", "pretrained"])
def test_marks_that_a_user_types_are_never_special_tokens(tokenizer: Tokenizer) -> None:
    ids = talk(tokenizer, ChatTemplate(), TURNS[:2])._context(10**6, 1)
    assert [ids.count(tokenizer.ids_of_special_tokens[mark]) for mark in MARKS] == [3, 2]


@pytest.mark.parametrize("tokenizer", [TOKENIZERS[0], TOKENIZERS[2]], ids=["text", "special"])
def test_the_end_mark_ends_an_answer_and_is_never_shown(tokenizer: Tokenizer) -> None:
    tokenizer = tokenizer.with_chat_template(ChatTemplate())
    answer = ChatTemplate().render([ANSWER, {"role": "user", "content": "And then?"}])
    asked = ChatTemplate().prompt([{"role": "user", "content": "Hi"}])
    prompt = encode_prompt(asked, tokenizer)
    begin = encode_prompt(ChatTemplate().prompt([]), tokenizer)
    model = ScriptedModel([*prompt, *encode_prompt(answer, tokenizer)[len(begin) :]], tokenizer.vocab_size)
    model.tokenizer = tokenizer

    chat = StatefulWrapper(model)
    chat.add_user_message("Hi")
    assert chat.generate(max_length=60, temperature=0) == ANSWER["content"]
    assert chat.get_history()[-1] == ANSWER


@pytest.mark.parametrize("tokenizer", [TOKENIZERS[0], TOKENIZERS[2]], ids=["text", "special"])
def test_generated_and_streamed_text_stops_before_the_end_mark(tokenizer: Tokenizer) -> None:
    tokenizer = tokenizer.with_chat_template(ChatTemplate())
    prompt = tokenizer.encode("lower, ")[:-1]
    rendered = ChatTemplate().render([{"role": "assistant", "content": "yes"}])
    begin = encode_prompt(ChatTemplate().prompt([]), tokenizer)
    script = [*prompt, *encode_prompt(rendered, tokenizer)[len(begin) :], 9, 9]
    model = ScriptedModel(script, tokenizer.vocab_size)
    model.tokenizer = tokenizer
    assert generate(model, "lower, ", max_length=60, temperature=0, strip_prompt=True) == "yes"
    stream = StreamingGenerator(model, chunk_size=4).generate_stream("lower, ", max_length=60, temperature=0)
    assert "".join(stream) == "yes"


def test_a_model_without_a_template_says_so_and_keeps_plain_lines() -> None:
    model = ScriptedModel([], 263)
    model.tokenizer = ByteTokenizer()
    chat = StatefulWrapper(model)
    assert chat.chat_format.startswith("plain `User:` and `Assistant:` lines")
    chat.add_user_message("Hi")
    assert chat._context(10**6, 1) == ByteTokenizer().encode("User: Hi\nAssistant:")[:-1]
    model.tokenizer = ByteTokenizer().with_chat_template(ChatTemplate())
    written = StatefulWrapper(model).chat_format
    assert (
        written == "the chat template of the tokenizer, with `<|im_start|>` and `<|im_end|>` around each turn"
    )


def test_a_template_that_fails_is_an_error_of_the_wrapper() -> None:
    model = ScriptedModel([], 263)
    model.tokenizer = ByteTokenizer().with_chat_template(ChatTemplate.unchecked("{% for %}", {}))
    with pytest.raises(ValueError, match="not a Jinja template"):
        StatefulWrapper(model)


def test_the_oldest_turns_leave_a_conversation_that_is_too_long() -> None:
    chat = talk(ByteTokenizer(), ChatTemplate(), TURNS)
    whole = chat._context(10**6, 1)
    short = chat._context(len(whole) - 1, 1)
    assert ByteTokenizer().decode(short) == ChatTemplate().prompt([TURNS[0], *TURNS[3:]]).text


def test_a_published_folder_brings_its_template(tmp_path: Any) -> None:
    from highnoon.tokenization import load_tokenizer

    (tmp_path / "tokenizer.json").write_text(pretrained().to_json())
    settings: dict[str, Any] = {
        "bos_token": {"content": "<s>"},
        "eos_token": "</s>",
        "chat_template": [{"name": "default", "template": BRACKETS}],
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    template = load_tokenizer(tmp_path).chat_template
    assert template == ChatTemplate(BRACKETS, {"bos_token": "<s>", "eos_token": "</s>"})
    assert template is not None and template.turn_end == "</s>"
    (tmp_path / "chat_template.jinja").write_text(PROMPTED)
    newer = load_tokenizer(tmp_path).chat_template
    assert newer is not None and newer.template == PROMPTED
    (tmp_path / "chat_template.jinja").unlink()
    for bad in ({"chat_template": 3}, [], {"chat_template": "x", "bos_token": 3}):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(bad))
        if isinstance(bad, dict) and bad["chat_template"] == "x":
            assert load_tokenizer(tmp_path).chat_template is not None
        else:
            with pytest.raises(ValueError, match="tokenizer_config.json"):
                load_tokenizer(tmp_path)
