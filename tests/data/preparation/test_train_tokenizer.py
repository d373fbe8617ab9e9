"""Training a tokenizer on the training side of sources."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from highnoon.data import DataError, DocumentSource, train_tokenizer
from highnoon.data.preparation.train_tokenizer import _sample, _training_pieces
from highnoon.data.tokens.splitting import split_hash, split_threshold
from highnoon.tokenization import QWTTextTokenizer, TokenizerError

MakeSource = Callable[..., DocumentSource]


def texts(count: int) -> list[str]:
    return [f"document number {number} says {number * 7919}" for number in range(count)]


def test_it_learns_from_the_training_side_alone(make_source: MakeSource) -> None:
    kept = [text for text in texts(300) if split_hash(text) >= split_threshold(0.1)]
    assert 0 < len(kept) < 300
    learned = train_tokenizer(make_source(texts(300)), 400)
    assert learned.fingerprint() == QWTTextTokenizer().train_from_texts(kept, 400).fingerprint()
    everything = train_tokenizer(make_source(texts(300)), 400, validation_split=0.0)
    assert everything.fingerprint() != learned.fingerprint()


def test_neither_order_nor_grouping_of_sources_matters(make_source: MakeSource) -> None:
    whole = train_tokenizer([make_source(texts(200))], 350, max_bytes=2000)
    halves = [make_source(texts(200)[100:]), make_source(texts(200)[:100])]
    assert train_tokenizer(halves, 350, max_bytes=2000).fingerprint() == whole.fingerprint()


def test_the_sample_is_bounded_even_and_never_empty(make_source: MakeSource) -> None:
    long = "".join(chr(97 + (number * number) % 26) for number in range(300_000))
    pieces = list(_training_pieces([make_source([long])], 0))
    assert "".join(piece for _, piece in pieces) == long and len(pieces) > 10
    sample = _sample(iter(pieces), 50_000)
    assert 50_000 - 16_384 < sum(map(len, sample)) <= 50_000
    assert len(_sample(iter(pieces), 1)) == 1
    many = list(_training_pieces([make_source(texts(1000))], 0))
    chosen = _sample(iter(many), 10_000)
    places = [index for index, (_, piece) in enumerate(many) if piece in set(chosen)]
    assert 0.4 < sum(index < 500 for index in places) / len(places) < 0.6


def test_nothing_to_learn_from_is_an_error(make_source: MakeSource) -> None:
    with pytest.raises(DataError, match="no text to train a tokenizer on in texts"):
        train_tokenizer(make_source([]), 300)
    with pytest.raises(DataError, match="in no source"):
        train_tokenizer([], 300)
    with pytest.raises(DataError, match="`max_bytes` must be at least 1"):
        train_tokenizer(make_source(["a"]), 300, max_bytes=0)
    with pytest.raises(TokenizerError, match="`vocab_size` must be at least 263"):
        train_tokenizer(make_source(["a b"], "x"), 100, validation_split=0.0)
