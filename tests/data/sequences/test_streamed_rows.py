"""Rows of a source that is read forward."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from highnoon.data import DataError, Document, DocumentSource, PackedRows, tokenize
from highnoon.data.sequences.streamed_rows import StreamedRows
from highnoon.data.tokens.token_store import TokenStore
from highnoon.tokenization import ByteTokenizer

TEXTS = [chr(97 + number % 26) * (1 + number * number % 41) + f" {number}" for number in range(120)]
MakeSource = Callable[..., DocumentSource]


class Marked(DocumentSource):
    """Documents of which only a part is supervised."""

    name = "marked"

    def documents(self) -> Iterator[Document]:
        for number, text in enumerate(TEXTS):
            spans = None if number % 3 == 0 else ((0, 1), (2, len(text))) if number % 3 == 1 else ()
            yield Document(text, learned=spans)

    def _describe(self, digest: hashlib.blake2b) -> None:
        digest.update(b"marked")


@pytest.fixture
def make_rows(make_source: MakeSource) -> Callable[..., StreamedRows]:
    def make(texts: list[str] = TEXTS, **options: object) -> StreamedRows:
        chosen = {"row_length": 16, "validation_split": 0.0, **options}
        return StreamedRows(make_source(texts), ByteTokenizer(), **chosen)  # type: ignore[arg-type]

    return make


def equal(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> bool:
    return first.keys() == second.keys() and all(
        np.array_equal(array, second[name]) and array.dtype == second[name].dtype
        for name, array in first.items()
    )


@pytest.mark.parametrize("buffer_documents", [1, 7, 1000])
@pytest.mark.parametrize("block", [40, 1 << 15])
def test_rows_from_any_start_are_those_of_one_long_read(
    make_rows: Callable[..., StreamedRows], monkeypatch: pytest.MonkeyPatch, buffer_documents: int, block: int
) -> None:
    monkeypatch.setattr("highnoon.data.sequences.row_packing.BLOCK_TOKENS", block)
    rows = make_rows(buffer_documents=buffer_documents)
    whole = rows.view(1).read(0, rows.num_rows)
    assert len(whole["labels"]) == rows.num_rows == -(-(rows.num_tokens - 1) // 16)
    for start in (0, 1, 17, rows.num_rows - 1, rows.num_rows):
        again = make_rows(buffer_documents=buffer_documents).view(1).read(start, 5)
        assert equal(again, {name: array[start : start + 5] for name, array in whole.items()})


def test_reading_back_begins_again(
    make_rows: Callable[..., StreamedRows], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("highnoon.data.sequences.row_packing.BLOCK_TOKENS", 16)
    monkeypatch.setattr("highnoon.data.sequences.streamed_view._KEPT_BLOCKS", 2)
    view = make_rows().view(0)
    first = view.read(0, 3)
    view.read(view.num_rows - 3, 3)
    assert equal(view.read(0, 3), first)


def test_the_order_depends_on_seed_and_epoch_and_on_nothing_else(
    make_rows: Callable[..., StreamedRows],
) -> None:
    first = make_rows(seed=1).view(0).read(0, 9)
    assert equal(make_rows(seed=1).view(0).read(0, 9), first)
    assert not equal(make_rows(seed=1).view(1).read(0, 9), first)
    assert not equal(make_rows(seed=2).view(0).read(0, 9), first)


def test_an_unshuffled_stream_has_the_rows_of_a_store(
    make_rows: Callable[..., StreamedRows], make_store: Callable[..., TokenStore]
) -> None:
    store = make_store(TEXTS, validation_split=0.5)
    packed = PackedRows(store, row_length=16, split="validation")
    streamed = make_rows(split="validation", validation_split=0.5)
    view, other = streamed.view(0), packed.view(0)
    assert (streamed.num_rows, streamed.num_documents) == (other.num_rows, packed.num_documents)
    assert (streamed.num_tokens, streamed.num_bytes) == (packed.num_tokens, packed.num_bytes)
    assert equal(view.read(0, view.num_rows), other.read(0, other.num_rows))
    for row in range(view.num_rows):
        assert view.documents_of(row).tolist() == other.documents_of(row).tolist()
    assert streamed.report()["tokens"] == packed.report()["tokens"]


def test_what_is_not_supervised_is_read_and_never_supervised(tmp_path: object) -> None:
    store = tokenize(Marked(), ByteTokenizer(), str(tmp_path), validation_split=0.5)
    packed = PackedRows(store, row_length=16, split="validation").view(0)
    streamed = StreamedRows(Marked(), ByteTokenizer(), 16, split="validation", validation_split=0.5).view(0)
    batch = streamed.read(0, streamed.num_rows)
    assert equal(batch, packed.read(0, packed.num_rows))
    assert 0 < batch["loss_weights"].sum() < 0.8 * (batch["segment_ids"] > 0).sum()


@pytest.mark.parametrize("buffer_documents", [1, 7, 1000])
def test_every_token_is_supervised_once_an_epoch(
    make_rows: Callable[..., StreamedRows], buffer_documents: int
) -> None:
    rows = make_rows(buffer_documents=buffer_documents, row_length=7)
    batch = rows.view(3).read(0, rows.num_rows)
    labels = np.sort(batch["labels"][batch["loss_weights"] > 0])
    expected = np.sort([token for ids in ByteTokenizer().encode_documents(TEXTS) for token in ids[1:]])
    assert labels.tolist() == expected.tolist()


def test_the_sides_of_the_split_have_no_common_document(make_rows: Callable[..., StreamedRows]) -> None:
    sides = [make_rows(split=split, validation_split=0.5) for split in ("train", "validation")]
    assert sum(side.num_documents for side in sides) == len(TEXTS)
    assert min(side.num_documents for side in sides) > 0


def test_a_bound_on_rows_spares_the_counting(make_rows: Callable[..., StreamedRows]) -> None:
    counted, bound = make_rows(), make_rows(num_rows=5)
    assert equal(bound.view(0).read(3, 9), counted.view(0).read(3, 2))
    assert (bound.num_rows, bound.num_documents, bound.report()["is_counted"]) == (5, 5, False)
    with pytest.raises(DataError, match="leave out `num_rows`"):
        _ = bound.num_bytes


def test_a_source_that_ends_early_begins_again_in_another_order(
    make_rows: Callable[..., StreamedRows],
) -> None:
    counted = make_rows()
    view = make_rows(num_rows=2 * counted.num_rows).view(0)
    with pytest.warns(UserWarning, match=f"ends after {counted.num_rows} rows, before num_rows="):
        batch = view.read(0, view.num_rows)
    halves = [
        np.sort(half["labels"], axis=None)
        for half in (
            {"labels": batch["labels"][: counted.num_rows]},
            {"labels": batch["labels"][counted.num_rows :]},
        )
    ]
    assert np.array_equal(*halves)
    assert not np.array_equal(batch["labels"][: counted.num_rows], batch["labels"][counted.num_rows :])


def test_held_out_rows_are_never_repeated(make_rows: Callable[..., StreamedRows]) -> None:
    rows = make_rows(split="validation", validation_split=0.5, num_rows=10_000)
    assert rows.num_rows == make_rows(split="validation", validation_split=0.5).num_rows
    assert make_rows(split="validation", validation_split=0.5, num_rows=2).num_rows == 2


def test_a_view_asked_for_again_continues(make_rows: Callable[..., StreamedRows]) -> None:
    rows = make_rows()
    assert rows.view(0) is rows.view(0)
    assert rows.view(1) is not rows.view(0)


def test_a_text_shorter_than_a_row_is_padded(make_rows: Callable[..., StreamedRows]) -> None:
    rows = make_rows(["ab"], row_length=6)
    batch = rows.view(0).read(0, 4)
    assert batch["token_ids"].tolist() == [[2, 104, 105, 3, 0, 0]]
    assert batch["loss_weights"].tolist() == [[1, 1, 1, 0, 0, 0]]
    assert batch["segment_ids"].tolist() == [[1, 1, 1, 1, 0, 0]]


def test_bad_arguments_say_what_is_expected(make_rows: Callable[..., StreamedRows]) -> None:
    for name in ("row_length", "num_rows", "buffer_documents"):
        with pytest.raises(DataError, match=f"`{name}` must be at least 1; received 0"):
            make_rows(**{name: 0})
    with pytest.raises(DataError, match="`split` must be one of"):
        make_rows(split="test")
    with pytest.raises(DataError, match="the validation split of texts is empty"):
        _ = make_rows(split="validation").num_rows
    with pytest.raises(DataError, match="the train split of texts is empty"):
        make_rows([], num_rows=3).view(0).read(0, 1)
    with pytest.raises(DataError, match="cannot be selected or sorted"):
        make_rows().view(0, documents=[1])
    with pytest.raises(DataError, match="cannot be selected or sorted"):
        make_rows().texts()
    with pytest.raises(DataError, match="`start` must be in"):
        make_rows().view(0).read(-1, 1)
    with pytest.raises(IndexError):
        make_rows().view(0).documents_of(10_000)
