"""The battery finds what it is for: each planted fault fails it."""

from __future__ import annotations

import pathlib
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


def count_positions_on(batch: Batch, start: int) -> None:
    batch["positions"] = np.tile(np.arange(16, dtype=np.int32), (len(batch["token_ids"]), 1))


def one_segment(batch: Batch, start: int) -> None:
    batch["segment_ids"] = (batch["segment_ids"] > 0).astype(np.int32)


def depend_on_the_place_read_from(batch: Batch, start: int) -> None:
    batch["token_ids"] = np.roll(batch["token_ids"], start // 3, axis=0)


def supervise_too_little(batch: Batch, start: int) -> None:
    batch["loss_weights"][:, -1] = 0
    batch["labels"][:, -1] = 0


def wider(batch: Batch, start: int) -> None:
    batch["labels"] = batch["labels"].astype(np.int64)


@pytest.mark.parametrize(
    "fault",
    [
        forget_boundaries,
        shift_labels,
        repeat_the_first_row,
        count_positions_on,
        one_segment,
        depend_on_the_place_read_from,
        supervise_too_little,
        wider,
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


def test_an_order_that_never_changes_fails_the_battery(
    rows: PackedRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = PackedRows.view
    monkeypatch.setattr(PackedRows, "view", lambda self, epoch, documents=None: view(self, 0, documents))
    with pytest.raises(AssertionError, match="epochs of the train side are equal: True"):
        check_dataset(rows)


def test_wrong_shares_fail_the_battery(rows: PackedRows) -> None:
    mixed = PackedRows([rows.stores[0]] * 2, 16, weights=[0.5, 0.5])
    told_otherwise = PackedRows(mixed.stores, 16, weights=[0.48, 0.52])
    check_dataset(mixed)
    view = PackedRows.view
    mixed.view = lambda epoch, documents=None: view(told_otherwise, epoch)  # type: ignore[method-assign]
    with pytest.raises(AssertionError, match="has the weight 0.5, and 1000 rows are off by"):
        check_dataset(mixed)
