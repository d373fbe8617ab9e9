"""The byte tokenizer: ids are bytes, everything round-trips."""

from __future__ import annotations

import pathlib
import random

import pytest

from highnoon.tokenization import ByteStreamTokenizer, ByteTokenizer, QWTTextTokenizer, TokenizerError


def test_an_id_is_its_byte_plus_seven() -> None:
    tokenizer = ByteTokenizer()
    assert tokenizer.vocab_size == 263
    assert tokenizer.encode("é") == [2, 0xC3 + 7, 0xA9 + 7, 3]


def test_any_bytes_round_trip() -> None:
    chooser = random.Random(0)
    for _ in range(100):
        data = chooser.randbytes(chooser.randrange(50))
        assert ByteTokenizer().decode_bytes(ByteTokenizer().encode_bytes(data)) == data


def test_broken_utf8_decodes_to_replacement_characters() -> None:
    tokenizer = ByteTokenizer()
    assert tokenizer.decode(tokenizer.encode_bytes(b"a\xffb")) == "a\ufffdb"


def test_it_is_an_untrained_bpe() -> None:
    text = "def f(x):\n\treturn 'ü'"
    assert ByteTokenizer().encode(text) == QWTTextTokenizer().encode(text)
    assert ByteStreamTokenizer is ByteTokenizer


def test_saving_and_loading_changes_nothing(tmp_path: pathlib.Path) -> None:
    ByteTokenizer().save(tmp_path)
    assert ByteTokenizer.load(tmp_path).fingerprint() == ByteTokenizer().fingerprint()


def test_another_tokenizer_is_refused(tmp_path: pathlib.Path) -> None:
    QWTTextTokenizer().train_from_texts(["abab"], vocab_size=264).save(tmp_path)
    with pytest.raises(TokenizerError, match="not a byte tokenizer"):
        ByteTokenizer.load(tmp_path)
    with pytest.raises(TokenizerError, match="no tokenizer at"):
        ByteTokenizer.load(tmp_path / "missing")
