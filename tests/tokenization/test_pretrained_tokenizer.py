"""Tokenizers made elsewhere."""

from __future__ import annotations

import pathlib

import pytest
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers

from highnoon.tokenization import PretrainedTokenizer, TokenizerError


def definition(special: list[str], lowercase: bool = False) -> str:
    vocab = {token: place for place, token in enumerate(["hello", "world", *special])}
    engine = tokenizers.Tokenizer(models.WordLevel(vocab, unk_token=special[0]))
    engine.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if lowercase:
        engine.normalizer = normalizers.Lowercase()
    engine.add_special_tokens(special)
    engine.enable_padding(length=9)
    engine.enable_truncation(1)
    return str(engine.to_str())


def test_special_tokens_are_found_by_their_usual_names() -> None:
    tokenizer = PretrainedTokenizer(definition(["<unk>", "<s>", "</s>", "<pad>"]))
    ids = (tokenizer.unk_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    assert ids == (2, 3, 4, 5)
    assert tokenizer.vocab_size == 6
    assert tokenizer.encode("hello world") == [3, 0, 1, 4]
    assert tokenizer.decode([3, 0, 1, 4]) == "hello world"


def test_without_a_begin_token_documents_only_end() -> None:
    tokenizer = PretrainedTokenizer(definition(["[UNK]", "<|endoftext|>"]))
    assert tokenizer.bos_token_id is None
    assert tokenizer.encode("world") == [1, 3]
    assert tokenizer.encode_documents(["world"]) == [[1, 3]]
    with pytest.raises(TokenizerError, match="has none"):
        tokenizer.encode("world", max_length=5, padding=True)


def test_the_text_of_its_special_tokens_is_plain_text() -> None:
    engine = tokenizers.Tokenizer(models.BPE({letter: place for place, letter in enumerate("</s>")}, []))
    engine.add_special_tokens(["</s>"])
    tokenizer = PretrainedTokenizer(engine.to_str())
    assert engine.encode("s</s>").ids == [2, 4]
    assert tokenizer.encode("s</s>") == [2, 0, 1, 2, 3, 4]


def test_without_an_end_token_it_is_refused() -> None:
    with pytest.raises(TokenizerError, match="has no end token"):
        PretrainedTokenizer(definition(["<unk>", "<s>"]))


def test_what_is_no_tokenizer_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(TokenizerError, match="can read"):
        PretrainedTokenizer('{"a": 1}')
    with pytest.raises(TokenizerError, match="no tokenizer at"):
        PretrainedTokenizer.load(tmp_path)


def test_saving_and_loading_changes_nothing(tmp_path: pathlib.Path) -> None:
    tokenizer = PretrainedTokenizer(definition(["<unk>", "</s>"], lowercase=True))
    tokenizer.save(tmp_path)
    loaded = PretrainedTokenizer.load(tmp_path)
    assert loaded.fingerprint() == tokenizer.fingerprint()
    assert loaded.decode(loaded.encode("HELLO")) == "hello"
