"""What all tokenizers share: framing, padding, truncation, checks of their input."""

from __future__ import annotations

import numpy as np
import pytest

from highnoon.tokenization import ByteTokenizer, QWTTextTokenizer, TokenizerError

TOKENIZER = ByteTokenizer()


def test_max_length_counts_the_framing_and_keeps_it() -> None:
    assert TOKENIZER.encode("abcdef", max_length=4) == [2, 97 + 7, 98 + 7, 3]
    assert TOKENIZER.encode("abcdef", add_special_tokens=False, max_length=2) == [97 + 7, 98 + 7]
    assert TOKENIZER.encode("abcdef", max_length=2) == [2, 3]


def test_padding_fills_with_the_pad_id_at_the_end() -> None:
    assert TOKENIZER.encode("a", max_length=5, padding=True) == [2, 97 + 7, 3, 0, 0]
    assert TOKENIZER.batch_encode(["abc", ""], padding=True) == [[2, 104, 105, 106, 3], [2, 3, 0, 0, 0]]
    assert TOKENIZER.batch_encode(["abc"], padding=True, max_length=7) == [[2, 104, 105, 106, 3, 0, 0]]


def test_arrays_of_ids_decode() -> None:
    assert TOKENIZER.decode(np.array([2, 104, 105, 3, 0, 0], np.int32)) == "ab"


def test_bad_arguments_are_one_line_errors() -> None:
    with pytest.raises(TokenizerError, match="`max_length` must be at least 2"):
        TOKENIZER.encode("a", max_length=1)
    with pytest.raises(TokenizerError, match="needs `max_length`"):
        TOKENIZER.encode("a", padding=True)
    with pytest.raises(TokenizerError, match="must be a str; received bytes"):
        TOKENIZER.encode(b"a")  # type: ignore[arg-type]
    with pytest.raises(TokenizerError, match="lone surrogate at character 1"):
        TOKENIZER.encode("a\ud800")
    with pytest.raises(TokenizerError, match="received -1"):
        TOKENIZER.decode([-1])


@pytest.mark.parametrize("method", ["batch_encode", "encode_documents", "encode_packed", "train_from_texts"])
@pytest.mark.parametrize("tokenizer", [ByteTokenizer, QWTTextTokenizer])
def test_one_text_in_place_of_a_list_is_refused_and_not_cut_into_letters(tokenizer, method):
    if hasattr(tokenizer, method):
        with pytest.raises(TokenizerError, match="`texts` must be a list of texts; received one text"):
            getattr(tokenizer(), method)("a text of letters")
    with pytest.raises(TokenizerError, match="ids must be integers; received a str"):
        tokenizer().decode("72")
