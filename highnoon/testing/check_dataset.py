"""The battery that every dataset of rows has to pass."""

from __future__ import annotations

import collections
import concurrent.futures
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from highnoon.data import PackedRows, RowsView

Batch = dict[str, npt.NDArray]
Pair = tuple[int, int, int]

_DTYPES = {
    "token_ids": np.int32,
    "labels": np.int32,
    "loss_weights": np.float32,
    "segment_ids": np.int32,
    "positions": np.int32,
}
_WINDOW_ROWS = 1000


def check_dataset(rows: PackedRows, epochs: Iterable[int] = (0, 1), batch_size: int = 3) -> None:
    """Asserts the properties of rows that training relies on.

    - Restarting at any step gives the same rest: every batch that is read first from a new view equals its
      part of one long read.
    - Batches do not depend on who reads them: threads that read one view in another order get the same, and
      what a reader writes into its batch reaches neither later batches nor the documents.
    - A row is pieces of documents: segments 1, 2, ... then padding; positions from 0; the label of a
      supervised token is the next token of its segment; nothing is supervised across documents or on
      padding.
    - Without weights, or on the validation side, every token of the loss mask (`rows.supervised`) that has a
      predecessor in its document is supervised exactly once an epoch, and no other token ever; epochs
      differ in order on the training side alone.
    - With weights, any 1,000 rows hold each store's fraction to within 1 percent.

    The cost grows with the square of the number of steps: use small data.

    Args:
        rows: The rows to check.
        epochs: Which epochs to read; two or more show whether they differ.
        batch_size: Rows a step.

    Raises:
        AssertionError: a property does not hold; the message says which one and where.
    """
    documents = [rows.tokens(document).copy() for document in range(rows.num_documents)]
    whole = {epoch: _read_all(rows.view(epoch)) for epoch in epochs}
    for epoch, batch in whole.items():
        _check_restarts(rows, epoch, batch, batch_size)
        _check_readers(rows, epoch, batch, batch_size)
        _check_rows(batch, rows)
        if rows.weights is None or rows.split == "validation":
            _check_every_token_once(rows, rows.view(epoch), batch)
    _check_orders(rows, list(whole.values()))
    if rows.weights is not None and rows.split == "train":
        _check_mixture(rows)
    for document, tokens in enumerate(documents):
        assert np.array_equal(rows.tokens(document), tokens), f"reading changed document {document}"


def _read_all(view: RowsView) -> Batch:
    return view.read(0, view.num_rows)


def _check_restarts(rows: PackedRows, epoch: int, whole: Batch, batch_size: int) -> None:
    num_rows = rows.view(epoch).num_rows
    for start in range(0, num_rows, batch_size):
        batch = rows.view(epoch).read(start, batch_size)
        for name, array in batch.items():
            expected = whole[name][start : start + batch_size]
            assert array.dtype == _DTYPES[name], f"{name} is {array.dtype}, not {_DTYPES[name]}"
            assert np.array_equal(array, expected), f"epoch {epoch}: {name} differs from row {start}"
    end = rows.view(epoch).read(num_rows, batch_size)
    assert all(len(array) == 0 for array in end.values()), "there are rows after the end of the epoch"


def _check_readers(rows: PackedRows, epoch: int, whole: Batch, batch_size: int) -> None:
    """Threads read a view from its end to its start, and write into what they get."""
    view = rows.view(epoch)

    def read(start: int) -> Batch:
        batch = view.read(start, batch_size)
        copy = {name: array.copy() for name, array in batch.items()}
        for array in batch.values():
            array[...] = 77
        return copy

    starts = list(range(0, view.num_rows, batch_size))[::-1]
    with concurrent.futures.ThreadPoolExecutor(max_workers=3) as threads:
        batches = list(threads.map(read, [*starts, *starts]))
    for start, batch in zip([*starts, *starts], batches, strict=True):
        for name, array in batch.items():
            assert np.array_equal(array, whole[name][start : start + batch_size]), (
                f"epoch {epoch}: {name} from row {start} depends on who reads"
            )


def _check_rows(batch: Batch, rows: PackedRows) -> None:
    assert set(batch) == set(_DTYPES), f"a batch has {sorted(batch)}"
    segments, positions, tokens = batch["segment_ids"], batch["positions"], batch["token_ids"]
    assert all(array.shape == (len(tokens), rows.row_length) for array in batch.values()), "shapes differ"
    is_token = segments > 0
    assert is_token[:, 0].all(), "a row is empty"
    assert (np.diff(is_token.astype(int), axis=1) <= 0).all(), "padding stands before a token"
    steps = np.diff(segments, axis=1)[is_token[:, 1:]]
    assert (segments[:, 0] == 1).all() and np.isin(steps, (0, 1)).all(), "segments are not 1, 2, ..."
    continues = is_token[:, 1:] & (segments[:, 1:] == segments[:, :-1])
    assert (positions[:, 0] == 0).all() and (positions[:, 1:][is_token[:, 1:] & ~continues] == 0).all(), (
        "a segment does not begin at position 0"
    )
    assert (np.diff(positions, axis=1)[continues] == 1).all(), "positions do not rise by 1 within a segment"
    is_all_supervised = all(store.all_supervised is None for store in rows.stores)
    _check_labels(batch, is_token, continues, is_all_supervised)


def _check_labels(
    batch: Batch, is_token: npt.NDArray[np.bool_], continues: npt.NDArray[np.bool_], is_all_supervised: bool
) -> None:
    labels, weights, tokens = batch["labels"], batch["loss_weights"], batch["token_ids"]
    assert np.isin(weights, (0.0, 1.0)).all(), "a loss weight is neither 0 nor 1"
    if is_all_supervised:
        assert (weights[:, :-1][continues] == 1.0).all(), "a token before another is not supervised"
    supervised = continues & (weights[:, :-1] == 1.0)
    assert np.array_equal(labels[:, :-1][supervised], tokens[:, 1:][supervised]), "a label is no next token"
    crosses = is_token[:, 1:] & ~continues
    assert (weights[:, :-1][crosses] == 0.0).all(), "a label is supervised across documents"
    assert (weights[~is_token] == 0.0).all(), "padding is supervised"
    assert not tokens[~is_token].any() and not labels[weights == 0.0].any(), "padding is not 0"


def _pairs(view: RowsView, batch: Batch) -> Iterator[Pair]:
    """(document, input, label) of everything supervised."""
    for row in range(len(batch["token_ids"])):
        documents = view.documents_of(row)
        segments = batch["segment_ids"][row]
        assert len(documents) == segments.max(), f"row {row} says it holds {len(documents)} documents"
        for index in np.flatnonzero(batch["loss_weights"][row]):
            yield (
                int(documents[segments[index] - 1]),
                int(batch["token_ids"][row, index]),
                int(batch["labels"][row, index]),
            )


def _check_every_token_once(rows: PackedRows, view: RowsView, batch: Batch) -> None:
    seen = collections.Counter(_pairs(view, batch))
    expected: collections.Counter[Pair] = collections.Counter()
    for document in range(rows.num_documents):
        tokens, supervised = rows.tokens(document).tolist(), rows.supervised(document)[1:]
        pairs = zip(tokens, tokens[1:], supervised, strict=False)
        expected.update((document, token, label) for token, label, is_supervised in pairs if is_supervised)
    missing, extra = expected - seen, seen - expected
    assert not missing, f"{missing.total()} tokens are never supervised, such as {next(iter(missing))}"
    assert not extra, f"{extra.total()} tokens are supervised too often, such as {next(iter(extra))}"


def _check_orders(rows: PackedRows, batches: list[Batch]) -> None:
    is_one_order = rows.split == "validation"
    for batch in batches[1:]:
        is_equal = np.array_equal(batch["token_ids"], batches[0]["token_ids"])
        if is_one_order or len(batch["token_ids"]) > 3:
            assert is_equal == is_one_order, f"epochs of the {rows.split} side are equal: {is_equal}"


def _check_mixture(rows: PackedRows) -> None:
    assert rows.weights is not None
    views = [rows.view(0)]
    while sum(view.num_rows for view in views) < 2 * _WINDOW_ROWS:
        views.append(rows.view(len(views)))
    first = [view.documents_of(row)[0] for view in views for row in range(view.num_rows)]
    stores = rows.store_of[np.array(first)]
    for store, weight in enumerate(rows.weights):
        taken = np.concatenate(([0], np.cumsum(stores == store)))
        fractions = (taken[_WINDOW_ROWS:] - taken[:-_WINDOW_ROWS]) / _WINDOW_ROWS
        worst = float(np.abs(fractions - weight).max())
        assert worst <= 0.01, f"store {store} has the weight {weight} and is off by {worst} somewhere"
