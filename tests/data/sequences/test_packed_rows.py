"""Rows as a function of (seed, epoch, row)."""

from __future__ import annotations

import collections
import math
import random
import warnings
from collections.abc import Callable

import numpy as np
import pytest

from highnoon.data import DataError, PackedRows, RowsView, TokenStore
from highnoon.data.sequences.shuffling import shuffled
from highnoon.testing.check_dataset import check_dataset

MakeStore = Callable[..., TokenStore]


def texts_of(alphabet: str, count: int, longest: int = 40, seed: int = 0) -> list[str]:
    chooser = random.Random(seed)
    return [
        f"{number}" + "".join(chooser.choices(alphabet, k=chooser.randrange(1, longest)))
        for number in range(count)
    ]


@pytest.fixture
def stores(make_store: MakeStore) -> list[TokenStore]:
    return [make_store(texts_of("ab", 40), "ab", 0.2), make_store(texts_of("xyz", 25, 90), "xyz", 0.2)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"packing": False},
        {"split": "validation"},
        {"split": "validation", "packing": False},
        {"seed": 7},
        {"weights": [0.8, 0.2]},
        {"weights": [0.35, 0.65], "packing": False},
        {"weights": [0.5, 0.5], "split": "validation"},
    ],
    ids=str,
)
def test_rows_pass_the_battery(stores: list[TokenStore], options: dict) -> None:
    check_dataset(PackedRows(stores, 16, **options), batch_size=7)


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("row_length", [1, 2, 200])
def test_rows_of_any_length_pass_the_battery(make_store: MakeStore, row_length: int, packing: bool) -> None:
    check_dataset(PackedRows(make_store(texts_of("ab", 12)), row_length, packing=packing))


def test_a_row_reads_as_the_contract_says(make_store: MakeStore) -> None:
    with pytest.warns(UserWarning, match="fewer than fill one row"):
        batch = PackedRows(make_store(["ab"]), row_length=6).view(0).read(0, 1)
    assert {name: array.tolist()[0] for name, array in batch.items()} == {
        "token_ids": [2, 104, 105, 3, 0, 0],
        "labels": [104, 105, 3, 0, 0, 0],
        "loss_weights": [1.0, 1.0, 1.0, 0.0, 0.0, 0.0],
        "segment_ids": [1, 1, 1, 1, 0, 0],
        "positions": [0, 1, 2, 3, 0, 0],
    }


def naive_rows(rows: PackedRows, epoch: int) -> list[list[tuple[int, int, float, int, int]]]:
    """Row by row: (token, label, weight, segment, position), made token by token."""
    order = shuffled(np.arange(rows.num_documents), rows.seed, epoch, 0)
    stream = [(document, index) for document in order for index in range(len(rows.tokens(document)))]
    cut = []
    for start in range(0, len(stream) - 1, rows.row_length):
        row, segment, position = [], 0, 0
        for document, index in stream[start : start + rows.row_length]:
            if not row or index == 0:
                segment, position = segment + 1, 0
            tokens = rows.tokens(document).tolist()
            is_supervised = index + 1 < len(tokens)
            label = tokens[index + 1] if is_supervised else 0
            row.append((tokens[index], label, float(is_supervised), segment, position))
            position += 1
        cut.append(row + [(0, 0, 0.0, 0, 0)] * (rows.row_length - len(row)))
    return [cut[row] for row in shuffled(np.arange(len(cut)), rows.seed, epoch, 1)]


@pytest.mark.parametrize("row_length", [1, 16, 57])
def test_packed_rows_equal_those_of_a_naive_loop(stores: list[TokenStore], row_length: int) -> None:
    rows = PackedRows(stores, row_length, seed=3)
    batch = rows.view(2).read(0, rows.view(2).num_rows)
    names = ("token_ids", "labels", "loss_weights", "segment_ids", "positions")
    for index, name in enumerate(names):
        expected = [[value[index] for value in row] for row in naive_rows(rows, 2)]
        assert batch[name].tolist() == expected, name


def test_every_token_is_supervised_once_by_document_and_position(make_store: MakeStore) -> None:
    """Documents whose every token is told apart from all others' by (its document, its rank)."""
    texts = [
        "".join(chr(32 + (7 * document + index) % 90) for index in range(5 + 9 * document % 70))
        for document in range(30)
    ]
    for packing in (True, False):
        rows = PackedRows(make_store(texts), 13, packing=packing)
        view = rows.view(0)
        batch = view.read(0, view.num_rows)
        seen: collections.Counter[tuple[int, int]] = collections.Counter()
        for row in range(view.num_rows):
            for document, segment in zip(view.documents_of(row), range(1, 99), strict=False):
                mine = batch["segment_ids"][row] == segment
                piece, tokens = batch["token_ids"][row][mine], rows.tokens(document)
                begin = next(
                    b for b in range(len(tokens)) if np.array_equal(tokens[b : b + len(piece)], piece)
                )
                weights = batch["loss_weights"][row][mine]
                seen.update((int(document), begin + index) for index in np.flatnonzero(weights))
        assert seen == {(d, index): 1 for d in range(30) for index in range(len(rows.tokens(d)) - 1)}


def test_packed_rows_are_full_and_single_rows_are_not(stores: list[TokenStore]) -> None:
    packed, single = PackedRows(stores, 16), PackedRows(stores, 16, packing=False)
    for rows in (packed, single):
        view = rows.view(0)
        held = view.read(0, view.num_rows)["segment_ids"] > 0
        assert view.efficiency == pytest.approx(held.mean())
    assert packed.view(0).efficiency > 0.99 > single.view(0).efficiency
    assert single.view(0).read(0, 999)["segment_ids"].max() == 1


def test_order_depends_on_seed_and_epoch_alone(make_store: MakeStore) -> None:
    def read(seed: int, epoch: int, name: str = "a") -> list[list[int]]:
        rows = PackedRows(make_store(texts_of("ab", 30), name), 16, seed=seed)
        rows.view(epoch + 1).read(3, 2)
        ids: list[list[int]] = rows.view(epoch).read(0, 999)["token_ids"].tolist()
        return ids

    assert read(1, 0) == read(1, 0, "other name")
    assert read(1, 0) != read(1, 1)
    assert read(1, 0) != read(2, 0)


def test_rows_of_a_long_document_do_not_follow_one_another(make_store: MakeStore) -> None:
    rows = PackedRows(make_store(["a" * 3000, "b" * 3000]), 10)
    view = rows.view(0)
    first = [int(view.documents_of(row)[0]) for row in range(view.num_rows)]
    changes = np.count_nonzero(np.diff(first))
    assert changes > view.num_rows / 4


def test_validation_is_read_in_its_stored_order(make_store: MakeStore) -> None:
    texts = texts_of("ab", 60)
    store = make_store(texts, validation_split=0.5)
    rows = PackedRows(store, 8, split="validation", packing=False)
    first = [rows.view(5).documents_of(row)[0] for row in range(rows.view(5).num_rows)]
    assert first == sorted(first)
    assert list(rows.texts()) == [text for text, out in zip(texts, store.is_validation, strict=True) if out]


def test_the_two_sides_have_no_common_document(stores: list[TokenStore]) -> None:
    train, held_out = PackedRows(stores, 16), PackedRows(stores, 16, split="validation")
    assert train.num_documents + held_out.num_documents == sum(map(len, stores))
    assert not set(train.texts()) & set(held_out.texts())
    assert train.num_bytes + held_out.num_bytes == sum(int(store.num_bytes.sum()) for store in stores)
    assert train.num_tokens + held_out.num_tokens == sum(int(store.lengths.sum()) for store in stores)


def test_chosen_documents_alone_are_read_and_all_of_them(stores: list[TokenStore]) -> None:
    rows = PackedRows(stores, 16)
    chosen = list(range(0, rows.num_documents, 3))
    view = rows.view(0, documents=chosen)
    batch = view.read(0, view.num_rows)
    held = {int(document) for row in range(view.num_rows) for document in view.documents_of(row)}
    assert held == set(chosen)
    assert batch["loss_weights"].sum() == sum(rows.lengths[chosen] - 1)
    again = rows.view(0, documents=np.array(chosen[::-1])).read(0, view.num_rows)
    assert all(np.array_equal(batch[name], again[name]) for name in batch)


def test_a_mixture_takes_chosen_documents_from_each_store(stores: list[TokenStore]) -> None:
    rows = PackedRows(stores, 8, weights=[0.25, 0.75])
    chosen = [document for document in range(rows.num_documents) if document % 2]
    view = rows.view(0, documents=chosen)
    first = np.array([view.documents_of(row)[0] for row in range(view.num_rows)])
    assert set(first) <= set(chosen)
    assert abs((rows.store_of[first] == 0).mean() - 0.25) < 0.02
    only_second = np.flatnonzero(rows.store_of == 1)
    with pytest.warns(UserWarning, match="no document of ab is among those to read"):
        assert rows.view(0, documents=only_second).fractions == [1.0]


def rows_of_store(rows: PackedRows, view: RowsView, store: int) -> list[int]:
    return [row for row in range(view.num_rows) if rows.store_of[view.documents_of(row)[0]] == store]


def test_a_store_used_up_starts_again_in_a_new_order_and_a_cut_one_continues(
    stores: list[TokenStore],
) -> None:
    rows = PackedRows(stores, 8, weights=[0.8, 0.2])
    sizes = [PackedRows(store, 8).view(0).num_rows for store in stores]
    views = [rows.view(epoch) for epoch in range(6)]
    assert views[0].num_rows == sum(sizes)
    often = [
        view.read(row, 1)["token_ids"].tolist()[0] for view in views for row in rows_of_store(rows, view, 0)
    ]
    passes = [often[start : start + sizes[0]] for start in range(0, len(often), sizes[0])]
    alone = PackedRows(stores[0], 8)
    assert passes[:3] == [alone.view(number).read(0, sizes[0])["token_ids"].tolist() for number in range(3)]
    seldom = [view.read(row, 1) for view in views for row in rows_of_store(rows, view, 1)]
    supervised = [int(batch["loss_weights"].sum()) for batch in seldom]
    assert sizes[1] < len(seldom) < 6 * sizes[1]
    assert sum(supervised[: sizes[1]]) == (rows.lengths[rows.store_of == 1] - 1).sum()


def test_the_report_says_what_is_read(stores: list[TokenStore]) -> None:
    rows = PackedRows(stores, 16, weights=[0.7, 0.3])
    report = rows.report()
    assert report["documents"] == rows.num_documents == sum(s["documents"] for s in report["stores"])
    assert report["tokens"] == rows.num_tokens == sum(s["tokens"] for s in report["stores"])
    assert report["bytes"] == rows.num_bytes and report["rows"] == rows.view(0).num_rows
    assert [store["name"] for store in report["stores"]] == ["ab", "xyz"]
    assert [store["share_asked"] for store in report["stores"]] == [0.7, 0.3]
    view = rows.view(0)
    first = np.array([view.documents_of(row)[0] for row in range(view.num_rows)])
    actual = [float((rows.store_of[first] == store).mean()) for store in range(2)]
    assert [store["share_actual"] for store in report["stores"]] == pytest.approx(actual)
    plain = PackedRows(stores, 16).report()["stores"]
    assert [store["share_asked"] for store in plain] == [None, None]
    assert sum(store["share_actual"] for store in plain) == pytest.approx(1.0)


def test_a_corpus_smaller_than_a_row_says_so_and_gives_one_padded_row(make_store: MakeStore) -> None:
    with pytest.warns(UserWarning, match="has 6 tokens, fewer than fill one row of 100") as caught:
        rows = PackedRows(make_store(["abcd"]), 100)
        rows.view(0).read(0, 1)
    assert len(caught) == 1
    assert rows.view(0).num_rows == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PackedRows(make_store(["abcd"]), 5)


def test_an_empty_split_is_an_error(make_store: MakeStore) -> None:
    with pytest.raises(DataError, match="the validation split of texts is empty: none of its 1 documents"):
        PackedRows(make_store(["abc"]), 4, split="validation")


def test_texts_are_a_lazy_sequence(make_store: MakeStore) -> None:
    texts = PackedRows(make_store(["one", "two", "three"]), 4).texts()
    assert (len(texts), texts[1], texts[-1]) == (3, "two", "three")
    assert list(texts[1:]) == ["two", "three"]
    with pytest.raises(IndexError):
        texts[3]


def test_bad_arguments_are_one_line_errors(stores: list[TokenStore], make_store: MakeStore) -> None:
    rows = PackedRows(stores, 8)
    with pytest.raises(DataError, match=r"\[0\.5, 0\.6\] sum to 1\.1"):
        PackedRows(stores, 8, weights=[0.5, 0.6])
    with pytest.raises(DataError, match="one value for each of 2 stores; received 1"):
        PackedRows(stores, 8, weights=[1.0])
    with pytest.raises(DataError, match="`row_length` must be at least 1"):
        PackedRows(stores, 0)
    with pytest.raises(DataError, match="`split` must be one of train, validation"):
        PackedRows(stores, 8, split="test")
    with pytest.raises(DataError, match="at least one store"):
        PackedRows([], 8)
    with pytest.raises(DataError, match="`epoch` must not be negative"):
        rows.view(-1)
    with pytest.raises(DataError, match="received 0, 0 of them distinct"):
        rows.view(0, documents=[])
    with pytest.raises(DataError, match="received 2, 1 of them distinct"):
        rows.view(0, documents=[1, 1])
    with pytest.raises(DataError, match=rf"in \[0, {rows.num_documents}\); received {rows.num_documents}"):
        rows.view(0, documents=[0, rows.num_documents])
    view = rows.view(0)
    for start, count in ((-1, 1), (view.num_rows + 1, 1), (0, -1)):
        with pytest.raises(DataError, match="`start` must be in"):
            view.read(start, count)
    with pytest.raises(IndexError, match="rows are 0 to"):
        view.documents_of(view.num_rows)
    with pytest.raises(IndexError, match="documents 0 to"):
        rows.text(-1)


def test_stores_of_different_tokenizers_do_not_mix(make_store: MakeStore) -> None:
    other = make_store(["abc"])
    other.tokenizer = type("Other", (type(other.tokenizer),), {"to_json": lambda self: "other"})()
    with pytest.raises(DataError, match="must have the same tokenizer"):
        PackedRows([make_store(["abc"]), other], 4)


@pytest.mark.parametrize(
    "argument",
    [
        {"row_length": math.nan},
        {"row_length": "8"},
        {"seed": math.nan},
        {"packing": "no"},
        {"weights": 1.0},
    ],
)
def test_an_argument_of_another_type_is_refused_by_name(make_store: MakeStore, argument: dict) -> None:
    (name,) = argument
    with pytest.raises(DataError, match=f"`{name}` must be"):
        PackedRows([make_store(["a text"])], **argument)
