"""A tokenizer.json of anybody gives a tokenizer or a one-line error, at loading and at encoding."""

from __future__ import annotations

import copy
import json
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from highnoon.tokenization import (
    ByteTokenizer,
    PretrainedTokenizer,
    QWTTextTokenizer,
    TokenizerError,
    load_tokenizer,
)
from highnoon.tokenization.byte_pair.byte_alphabet import definition

VALID = definition([("a", "b"), ("ab", "a")])


def split_by(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def judge(values: Any, tmp_path, text: str = "abab hello") -> str:
    """Returns what becomes of a tokenizer.json and of a text; an error is one line that can be printed."""
    file = tmp_path / "tokenizer.json"
    file.write_bytes(values if isinstance(values, bytes) else json.dumps(values).encode())
    begun_at = time.monotonic()
    try:
        tokenizer = load_tokenizer(file)
        assert isinstance(tokenizer.vocab_size, int)
        tokenizer.decode(tokenizer.encode(text))
    except TokenizerError as error:
        message = str(error)
        message.encode()
        assert "\n" not in message and len(message) < 700
        return message
    finally:
        assert time.monotonic() - begun_at < 5
    return "read"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (b"[" * 100_000, "nests"),
        (b'{"model":' * 50_000, "nests"),
        (b"\xff\xfe{\0}\0", "not UTF-8"),
        (b"[1]", "an object"),
        (b"", "is not JSON"),
        (b"9" * 5_000, "is not JSON"),
        (b"{}", "not a tokenizer.json"),
        ({**VALID, "normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}, "charsmap"),
        ({**VALID, "pre_tokenizer": split_by("(")}, "not a tokenizer.json"),
        ({**VALID, "model": {"type": "Unigram", "unk_id": None, "vocab": []}}, "unk_id"),
        ({**VALID, "model": {"type": "WordLevel", "unk_token": "x", "vocab": {"a": 0}}}, "cannot encode"),
        ({**VALID, "model": {**VALID["model"], "merges": [["q", "zz"]]}}, "out of vocabulary"),
        (
            {
                **VALID,
                "normalizer": {
                    "type": "Sequence",
                    "normalizers": [{"type": "Replace", "pattern": {"String": "o"}, "content": "oooooooooo"}]
                    * 9,
                },
            },
            "more than 10,000 times",
        ),
        (
            {**VALID, "normalizer": {"type": "Replace", "pattern": {"Regex": ""}, "content": "x" * 10**5}},
            "more than 10,000 times",
        ),
    ],
)
def test_what_is_no_tokenizer_is_a_one_line_error(values, words, tmp_path):
    message = judge(values, tmp_path)
    assert words in message and "tokenizer" in message


def test_a_regular_expression_that_backtracks_without_end_is_given_up(tmp_path):
    message = judge({**VALID, "pre_tokenizer": split_by("(a+)+$")}, tmp_path, "a" * 40 + "!")
    assert "cannot encode this text: Onig" in message and "retry-limit" in message


@pytest.mark.parametrize(
    "merges",
    [
        [[1, 2]],
        [["a"]],
        [[["a"], "b"]],
        [None],
        [["€", "x"]],
        [["<|eos|>", "a"]],
        [["ab", "a"]],
        "ab",
        {"a": "b"},
        7,
    ],
)
def test_merges_that_no_training_makes_are_not_ours(merges, tmp_path):
    values = copy.deepcopy(VALID)
    values["model"]["merges"] = merges
    (tmp_path / "tokenizer.json").write_text(json.dumps(values))
    for load in (QWTTextTokenizer.load, ByteTokenizer.load):
        with pytest.raises(TokenizerError):
            load(tmp_path)
    judge(values, tmp_path)


def test_an_interrupt_within_the_library_stays_an_interrupt(monkeypatch):
    tokenizer = PretrainedTokenizer(json.dumps(VALID))

    class Interrupted:
        def encode_batch_fast(self, *args, **kwargs):
            raise KeyboardInterrupt

    monkeypatch.setattr(tokenizer, "_encoder", Interrupted())
    with pytest.raises(KeyboardInterrupt):
        tokenizer.encode("a")


HOSTILE = st.sampled_from(
    [
        None,
        True,
        -1,
        0,
        1,
        3,
        2**32,
        10**30,
        1.5,
        float("nan"),
        "",
        "a",
        "\ud800",
        "x" * 5_000,
        "<|eos|>",
        [],
        {},
        [[]],
        ["a", "b"],
        {"type": "Sequence", "normalizers": []},
        {"type": "ByteLevel"},
        {"type": "Nothing"},
        split_by("a*"),
        split_by("(?<=a+)b"),
        {"type": "Replace", "pattern": {"String": ""}, "content": "aa"},
        {"Regex": "("},
        {"type": "Precompiled", "precompiled_charsmap": "/////w=="},
        {"type": "Metaspace", "replacement": "ab"},
        {"type": "Unigram", "unk_id": 9, "vocab": [["a", 0.0]]},
        {"type": "WordPiece", "vocab": {"a": 2**31}},
        {"type": "Fuse"},
        {"type": "Prepend", "prepend": "x" * 99},
        {"type": "BertNormalizer"},
    ]
)


@st.composite
def changed(draw: st.DrawFn) -> Any:
    values = copy.deepcopy(VALID)
    for _ in range(draw(st.integers(1, 3))):
        place: Any = values
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], (dict, list)) and place[key] and draw(st.integers(0, 3)):
                place = place[key]
                continue
            if draw(st.integers(0, 4)):
                place[key] = copy.deepcopy(draw(HOSTILE))  # it may be changed in its turn
            else:
                del place[key]
            break
    return values


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    content = bytearray(json.dumps(VALID).encode())
    for _ in range(draw(st.integers(1, 4))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content[: draw(st.integers(1, len(content)))])


def test_a_changed_or_damaged_definition_is_read_or_refused_in_one_line(tmp_path):
    @settings(
        max_examples=500,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.one_of(changed(), changed(), damaged()))
    def check(values):
        judge(values, tmp_path)

    check()
