"""What of a document is supervised: its tokens, its records, its way back to text."""

from __future__ import annotations

import hashlib
import pathlib
import warnings
from collections.abc import Iterator, Sequence

import pytest

from highnoon.data import DataError, Document, DocumentSource, PackedRows, PreparedTokens, prepare, tokenize
from highnoon.data.tokens.encoding import encode_batch
from highnoon.testing.check_dataset import check_dataset
from highnoon.tokenization import ByteTokenizer, QWTTextTokenizer

Spans = tuple[tuple[int, int], ...] | None


class Spanned(DocumentSource):
    name = "spanned"

    def __init__(self, documents: Sequence[tuple[str, Spans]]) -> None:
        self._documents = list(documents)

    def documents(self) -> Iterator[Document]:
        return (Document(text, domain="chat", supervised=spans) for text, spans in self._documents)

    def _describe(self, digest: hashlib._Hash) -> None:  # type: ignore[name-defined]
        digest.update(repr(self._documents).encode())


MIXED = [
    ("question? answer!", ((10, 17),)),
    ("plain text", None),
    ("ab cd ef", ((3, 5),)),
    ("nothing of this", ()),
    ("é whole 日本", ((0, 10),)),
    ("two apart", ((0, 3), (4, 7))),
] * 4


def test_tokens_of_spans_are_supervised_and_the_end_where_they_reach_it() -> None:
    def flags(text: str, spans: Spans) -> list[int]:
        batch = encode_batch([text, "x"], [spans, None], ByteTokenizer())
        assert batch.supervised is not None
        return batch.supervised.astype(int).tolist()[: batch.lengths[0]]

    assert flags("abc", ((1, 3),)) == [0, 0, 1, 1, 1]
    assert flags("abc", ((0, 2),)) == [0, 1, 1, 0, 0]
    assert flags("abc", ((0, 1), (2, 3))) == [0, 1, 0, 1, 1]
    assert flags("é1", ((0, 1),)) == [0, 1, 1, 0, 0]
    assert flags("abc", ()) == [0, 0, 0, 0, 0]


def test_text_without_spans_needs_no_flags() -> None:
    assert encode_batch(["a", "b"], [None, None], ByteTokenizer()).supervised is None


def test_a_prompt_has_the_ids_that_it_has_alone() -> None:
    tokenizer = QWTTextTokenizer().train_from_texts(["question answer"] * 9, vocab_size=290)
    prompt, answer = "question ans", "wer"
    batch = encode_batch([prompt + answer], [((len(prompt), len(prompt + answer)),)], tokenizer)
    pieces = [
        *tokenizer.encode(prompt, add_special_tokens=False),
        *tokenizer.encode(answer, add_special_tokens=False),
    ]
    assert batch.tokens.tolist() == [2, *pieces, 3]
    assert batch.tokens.tolist() != tokenizer.encode(prompt + answer)


@pytest.mark.parametrize("spans", [((2, 2),), ((0, 9),), ((3, 4), (1, 2)), ((0, 2), (1, 3)), ((-1, 2),)])
def test_spans_out_of_order_are_an_error(spans: Spans) -> None:
    with pytest.raises(DataError, match="in order, without overlap and within the text of 5 characters"):
        encode_batch(["abcde"], [spans], ByteTokenizer())


def test_a_label_that_is_not_supervised_has_no_weight(tmp_path: pathlib.Path) -> None:
    store = tokenize(Spanned([("abc", ((1, 2),))]), ByteTokenizer(), tmp_path, 0.0)
    with pytest.warns(UserWarning, match="fewer than fill one row"):
        batch = PackedRows(store, 6).view(0).read(0, 1)
    assert batch["token_ids"].tolist() == [[2, 104, 105, 106, 3, 0]]
    assert batch["labels"].tolist() == [[0, 105, 0, 0, 0, 0]]
    assert batch["loss_weights"].tolist() == [[0, 1, 0, 0, 0, 0]]


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("weights", [None, [0.5, 0.5]])
def test_records_of_stores_with_spans_pass_the_battery(
    tmp_path: pathlib.Path, packing: bool, weights: list[float] | None
) -> None:
    stores = [
        tokenize(Spanned(MIXED), ByteTokenizer(), tmp_path, 0.0),
        tokenize(Spanned([("all of it", None)] * 9), ByteTokenizer(), tmp_path, 0.0),
    ]
    assert stores[0].all_supervised is not None and stores[1].all_supervised is None
    check_dataset(PackedRows(stores, 9, packing=packing, weights=weights))


def test_prepared_tokens_give_text_and_spans_back(tmp_path: pathlib.Path) -> None:
    prepare(Spanned(MIXED), ByteTokenizer(), tmp_path, validation_split=0.0)
    given = [
        (document.text, document.supervised, document.domain)
        for document in PreparedTokens(tmp_path).documents()
    ]
    assert given == [(text, spans, "chat") for text, spans in MIXED]


def test_prepared_tokens_are_taken_as_they_are_by_an_equal_tokenizer(tmp_path: pathlib.Path) -> None:
    store = prepare(Spanned(MIXED), ByteTokenizer(), tmp_path / "a", validation_split=0.0)
    prepared = PreparedTokens(tmp_path / "a")
    assert (prepared.name, prepared.fingerprint()) == ("spanned", store.fingerprint)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same = tokenize(prepared, QWTTextTokenizer(), tmp_path / "cache", 0.0)
    assert same.folder == store.folder
    assert not (tmp_path / "cache").exists()


def test_prepared_tokens_are_tokenised_again_for_another_tokenizer(tmp_path: pathlib.Path) -> None:
    prepare(Spanned(MIXED), ByteTokenizer(), tmp_path / "a", validation_split=0.0)
    other = QWTTextTokenizer().train_from_texts(["question answer"] * 9, vocab_size=290)
    with pytest.warns(UserWarning, match="spanned was prepared with ByteTokenizer"):
        store = tokenize(PreparedTokens(tmp_path / "a"), other, tmp_path / "cache", 0.0)
    assert [store.text(number) for number in range(6)] == [text for text, _ in MIXED[:6]]
    assert store.tokens(0).tolist() == encode_batch([MIXED[0][0]], [MIXED[0][1]], other).tokens.tolist()


def test_a_folder_without_its_tokenizer_says_how_to_open_it(tmp_path: pathlib.Path) -> None:
    prepare(Spanned(MIXED), ByteTokenizer(), tmp_path, validation_split=0.0)
    saved = (tmp_path / "tokenizer.json").read_text()
    (tmp_path / "tokenizer.json").write_text(saved.replace("<|mask|>", "<|sask|>"))
    with pytest.raises(DataError, match="tokenizer"):
        PreparedTokens(tmp_path)
