"""The battery finds what it is for: each planted fault fails it."""

from __future__ import annotations

import pathlib
import threading
from collections.abc import Callable

import numpy as np
import pytest

from highnoon.data import Files, PackedRows, tokenize
from highnoon.data.sequences.rows_view import RowsView
from highnoon.testing.check_dataset import check_dataset
from highnoon.tokenization import ByteTokenizer

Batch = dict[str, np.ndarray]


@pytest.fixture
def rows(tmp_path: pathlib.Path) -> PackedRows:
    (tmp_path / "a.txt").write_text("\n".join(f"line {number} of a text" for number in range(30)))
    return PackedRows(tokenize(Files(tmp_path / "a.txt", split="line"), ByteTokenizer(), tmp_path), 16)


def forget_boundaries(batch: Batch, start: int) -> None:
    batch["loss_weights"][:, :-1] = batch["segment_ids"][:, 1:] > 0


def shift_labels(batch: Batch, start: int) -> None:
    batch["labels"] = np.roll(batch["labels"], 1, axis=1)


def repeat_the_first_row(batch: Batch, start: int) -> None:
    for array in batch.values():
        array[0] = array[-1]


def continue_positions_across_documents(batch: Batch, start: int) -> None:
    batch["positions"] = np.tile(np.arange(16, dtype=np.int32), (len(batch["token_ids"]), 1))


def one_segment(batch: Batch, start: int) -> None:
    batch["segment_ids"] = (batch["segment_ids"] > 0).astype(np.int32)


def depend_on_the_first_row_read(batch: Batch, start: int) -> None:
    batch["token_ids"] = np.roll(batch["token_ids"], start // 3, axis=0)


def supervise_too_little(batch: Batch, start: int) -> None:
    batch["loss_weights"][:, -1] = 0
    batch["labels"][:, -1] = 0


def give_64_bit_labels(batch: Batch, start: int) -> None:
    batch["labels"] = batch["labels"].astype(np.int64)


def put_padding_first(batch: Batch, start: int) -> None:
    for array in batch.values():
        array[:, 0] = 0


def supervise_padding(batch: Batch, start: int) -> None:
    batch["loss_weights"][-1, -1] = 1.0
    batch["segment_ids"][-1, -1] = 0


def omit_the_positions(batch: Batch, start: int) -> None:
    del batch["positions"]


@pytest.mark.parametrize(
    "fault",
    [
        forget_boundaries,
        shift_labels,
        repeat_the_first_row,
        continue_positions_across_documents,
        one_segment,
        depend_on_the_first_row_read,
        supervise_too_little,
        give_64_bit_labels,
        put_padding_first,
        supervise_padding,
        omit_the_positions,
    ],
)
def test_a_planted_fault_fails_the_battery(
    rows: PackedRows, monkeypatch: pytest.MonkeyPatch, fault: Callable[[Batch, int], None]
) -> None:
    check_dataset(rows)
    read = RowsView.read

    def faulty(self: RowsView, start: int, count: int) -> Batch:
        batch = read(self, start, count)
        if len(batch["token_ids"]):
            fault(batch, start)
        return batch

    monkeypatch.setattr(RowsView, "read", faulty)
    with pytest.raises(AssertionError):
        check_dataset(rows)


Read = Callable[[RowsView, int, int], Batch]


def repeat_the_last_row_after_a_restart(read: Read, view: RowsView, start: int, count: int) -> Batch:
    is_first = not hasattr(view, "was_read")
    view.was_read = True
    return read(view, max(0, start - is_first), count)


def count_the_reads(read: Read, view: RowsView, start: int, count: int) -> Batch:
    """Each read of a view gives the rows after those of the read before, whatever `start` is."""
    first = getattr(view, "next", start)
    view.next = first + count
    return read(view, min(first, view.num_rows), count)


def return_one_array_for_all_reads(read: Read, view: RowsView, start: int, count: int) -> Batch:
    stored = view.__dict__.setdefault("stored", {})
    if (start, count) not in stored:
        stored[start, count] = read(view, start, count)
    return stored[start, count]


def depend_on_the_thread(read: Read, view: RowsView, start: int, count: int) -> Batch:
    """Another worker than the first shuffles its rows."""
    batch = read(view, start, count)
    if threading.current_thread() is threading.main_thread():
        return batch
    return {name: array[::-1] for name, array in batch.items()}


def pad_more_in_later_epochs(read: Read, view: RowsView, start: int, count: int) -> Batch:
    batch = read(view, start, count)
    if view.epoch > 0:
        for array in batch.values():
            array[:, -1:] = 0
    return batch


def drop_the_last_row(read: Read, view: RowsView, start: int, count: int) -> Batch:
    batch = read(view, start, count)
    is_end = start + len(batch["labels"]) == view.num_rows and len(batch["labels"])
    return {name: array[:-1] for name, array in batch.items()} if is_end else batch


def start_again_after_the_end(read: Read, view: RowsView, start: int, count: int) -> Batch:
    return read(view, start if start < view.num_rows else 0, count)


@pytest.mark.parametrize(
    "fault, message",
    [
        (repeat_the_last_row_after_a_restart, "differs from row"),
        (count_the_reads, "depends on who reads"),
        (return_one_array_for_all_reads, "depends on who reads"),
        (depend_on_the_thread, "depends on who reads"),
        (pad_more_in_later_epochs, "row 0 says it holds|are never supervised"),
        (drop_the_last_row, "differs from row|are never supervised"),
        (start_again_after_the_end, "rows after the end"),
    ],
)
def test_a_planted_fault_of_a_reader_fails_the_battery(
    rows: PackedRows, monkeypatch: pytest.MonkeyPatch, fault: Callable[..., Batch], message: str
) -> None:
    read = RowsView.read
    monkeypatch.setattr(RowsView, "read", lambda view, start, count: fault(read, view, start, count))
    with pytest.raises(AssertionError, match=message):
        check_dataset(rows)


def test_a_source_that_reading_changes_fails_the_battery(
    rows: PackedRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, tokens = RowsView.read, PackedRows.tokens
    num_reads = []
    monkeypatch.setattr(RowsView, "read", lambda *arguments: [num_reads.append(1), read(*arguments)][1])
    monkeypatch.setattr(PackedRows, "tokens", lambda self, document: tokens(self, document) + bool(num_reads))
    monkeypatch.setattr("highnoon.testing.check_dataset._check_every_token_once", lambda *arguments: None)
    with pytest.raises(AssertionError, match="reading changed document 0"):
        check_dataset(rows)


def test_an_order_that_never_changes_fails_the_battery(
    rows: PackedRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = PackedRows.view
    monkeypatch.setattr(PackedRows, "view", lambda self, epoch, documents=None: view(self, 0, documents))
    with pytest.raises(AssertionError, match="epochs of the train side are equal: True"):
        check_dataset(rows)


def test_a_wrong_mixture_fails_the_battery(rows: PackedRows) -> None:
    mixed = PackedRows([rows.stores[0]] * 2, 16, weights=[0.5, 0.5])
    otherwise_mixed = PackedRows(mixed.stores, 16, weights=[0.48, 0.52])
    check_dataset(mixed)
    view = PackedRows.view
    mixed.view = lambda epoch, documents=None: view(otherwise_mixed, epoch)  # type: ignore[method-assign]
    with pytest.raises(AssertionError, match="has the weight 0.5 and is off by"):
        check_dataset(mixed)
