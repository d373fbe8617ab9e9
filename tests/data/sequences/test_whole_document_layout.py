"""Rows of whole documents."""

from __future__ import annotations

import collections
import random
from collections.abc import Callable

import numpy as np
import pytest

from highnoon.data import DataError, PackedRows, TokenStore
from highnoon.data.sequences.block_diffusion_rows import BlockDiffusionRows
from highnoon.data.sequences.whole_document_layout import WholeDocumentLayout, best_fit
from highnoon.testing.check_dataset import check_dataset

MakeStore = Callable[..., TokenStore]


def texts_of(alphabet: str, count: int, longest: int) -> list[str]:
    chooser = random.Random(count)
    return [
        f"{number}" + "".join(chooser.choices(alphabet, k=chooser.randrange(1, longest)))
        for number in range(count)
    ]


@pytest.fixture
def stores(make_store: MakeStore) -> list[TokenStore]:
    return [make_store(texts_of("ab", 40, 40), "ab", 0.2), make_store(texts_of("xyz", 25, 90), "xyz", 0.2)]


def naive_best_fit(lengths: list[int], row_length: int) -> list[tuple[int, ...]]:
    """Puts the longest piece left into the row with the least room that suffices, one by one."""
    rows: list[list[int]] = []
    for length in sorted(lengths, reverse=True):
        fitting = [row for row in rows if row_length - sum(row) >= length]
        if fitting:
            max(fitting, key=sum).append(length)
        else:
            rows.append([length])
    return [tuple(row) for row in rows]


@pytest.mark.parametrize(("row_length", "longest"), [(1, 1), (10, 10), (64, 30), (64, 64), (100, 9)])
def test_rows_are_those_of_best_fit_one_piece_at_a_time(row_length: int, longest: int) -> None:
    lengths = np.random.default_rng(longest).integers(1, longest + 1, 300)
    packed = collections.Counter[int]()
    for kind in best_fit(lengths, row_length):
        packed[sum(kind.lengths)] += kind.num_rows
        assert sum(kind.lengths) <= row_length
    assert packed == collections.Counter(map(sum, naive_best_fit(lengths.tolist(), row_length)))


@pytest.mark.parametrize(
    "options",
    [{}, {"split": "validation"}, {"weights": [0.35, 0.65]}, {"seed": 7}],
    ids=str,
)
@pytest.mark.parametrize("row_length", [1, 16, 200])
def test_rows_of_whole_documents_pass_the_battery(
    stores: list[TokenStore], row_length: int, options: dict
) -> None:
    check_dataset(PackedRows(stores, row_length, whole_documents=True, **options), batch_size=7)


def test_a_document_that_fits_is_in_one_row_and_a_longer_one_is_cut_at_full_rows() -> None:
    lengths = np.random.default_rng(0).integers(1, 70, 200)
    layout = WholeDocumentLayout(np.arange(200) + 1000, lengths, 25)
    pieces = layout.pieces(np.arange(layout.num_rows))
    of_document = collections.defaultdict[int, list[tuple[int, int]]](list)
    for document, begin, length in zip(
        pieces.document.tolist(), pieces.begin.tolist(), pieces.length.tolist(), strict=True
    ):
        of_document[document - 1000].append((begin, length))
    for document, tokens in enumerate(lengths.tolist()):
        needed = max(1, tokens - 1)  # nothing follows the last token
        expected = [(begin, min(25, tokens - begin)) for begin in range(0, needed, 25)]
        assert sorted(of_document[document]) == expected
    assert layout.num_inputs == int(pieces.length.sum())


def test_pieces_of_a_row_follow_one_another_and_any_rows_can_be_read() -> None:
    lengths = np.random.default_rng(1).integers(1, 40, 100)
    layout = WholeDocumentLayout(np.arange(100), lengths, 30)
    whole = layout.pieces(np.arange(layout.num_rows))
    for row in range(layout.num_rows):
        here = whole.row == row
        assert (whole.column[here] == np.cumsum(whole.length[here]) - whole.length[here]).all()
        assert whole.segment[here].tolist() == list(range(1, here.sum() + 1))
    chosen = np.array([5, 2, 9])
    some = layout.pieces(chosen)
    for index, row in enumerate(chosen):
        for name in ("column", "segment", "document", "begin", "length"):
            assert (getattr(some, name)[some.row == index] == getattr(whole, name)[whole.row == row]).all()


def test_the_number_of_rows_does_not_depend_on_the_order_but_their_documents_do() -> None:
    rng = np.random.default_rng(2)
    lengths = rng.integers(1, 12, 300)
    order = rng.permutation(300)
    one = WholeDocumentLayout(np.arange(300), lengths, 20)
    other = WholeDocumentLayout(order, lengths[order], 20)
    assert one.num_rows == other.num_rows
    rows = np.arange(one.num_rows)
    assert not np.array_equal(one.pieces(rows).document, other.pieces(rows).document)


def test_rows_of_one_store_and_of_block_diffusion_keep_the_option(stores: list[TokenStore]) -> None:
    rows = PackedRows(stores, 64, whole_documents=True)
    assert rows.only(stores[0]).whole_documents
    noisy = BlockDiffusionRows(stores, [4], row_length=64, whole_documents=True)
    assert (noisy.view(0).read(0, 3)["token_ids"] == rows.view(0).read(0, 3)["token_ids"]).all()
    assert noisy.only(stores[1]).whole_documents


def test_another_type_is_refused(stores: list[TokenStore]) -> None:
    with pytest.raises(DataError, match="`whole_documents`"):
        PackedRows(stores, 16, whole_documents="yes")  # type: ignore[arg-type]
