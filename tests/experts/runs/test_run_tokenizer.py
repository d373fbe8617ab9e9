"""All runs in a folder have one tokenizer, and another is refused."""

from __future__ import annotations

import pathlib

import pytest

from highnoon.config import ConfigError
from highnoon.experts.runs.run_tokenizer import keep_tokenizer, run_tokenizer
from highnoon.tokenization import BytePairTokenizer, ByteTokenizer, load_tokenizer

TEXTS = ["the sun stands high at noon over the plain, and the stars come at night"] * 9


@pytest.fixture
def runs(tmp_path, monkeypatch) -> pathlib.Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / "runs"


def test_a_folder_keeps_its_tokenizer_and_refuses_another(runs):
    folder = keep_tokenizer(ByteTokenizer(), runs)
    assert keep_tokenizer(ByteTokenizer(), runs) == folder
    with pytest.raises(ConfigError, match="must have its tokenizer, ByteTokenizer.*received BytePair"):
        keep_tokenizer(BytePairTokenizer(270).train_from_texts(TEXTS), runs)


def test_an_empty_folder_that_a_killed_run_left_receives_the_tokenizer(runs):
    (runs / "tokenizer").mkdir(parents=True)
    assert load_tokenizer(keep_tokenizer(ByteTokenizer(), runs)).vocab_size == 263


def test_byte_pairs_are_not_those_of_another_kind_or_of_another_size(runs):
    keep_tokenizer(BytePairTokenizer(270).train_from_texts(TEXTS), runs)
    assert run_tokenizer("bpe", runs, {}, vocab_size=270).vocab_size == 270
    with pytest.raises(ConfigError, match="`vocab_size` must be at least 270.*received 265"):
        run_tokenizer("bpe", runs, {}, vocab_size=265)
    keep_tokenizer(ByteTokenizer(), "bytes")
    with pytest.raises(ConfigError, match="must be one of byte pairs; it is ByteTokenizer"):
        run_tokenizer("bpe", "bytes", {})


def test_the_size_of_a_tokenizer_that_exists_is_not_another(runs):
    assert run_tokenizer("byte", runs, {}, vocab_size=263).vocab_size == 263
    with pytest.raises(ConfigError, match="`vocab_size` must be 263, that of the tokenizer `byte`"):
        run_tokenizer("byte", runs, {}, vocab_size=5000)


def test_a_folder_may_be_given_by_the_home_folder(runs):
    run_tokenizer("byte", "~/runs", {})
    assert (runs / "tokenizer/tokenizer.json").is_file() and not pathlib.Path("~").exists()
