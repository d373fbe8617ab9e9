"""Derived columns: computed once, complete or absent, and resumed after a kill."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from highnoon.data import (
    DataError,
    Derivation,
    DerivedColumn,
    Files,
    PackedRows,
    StackedColumns,
    derive_columns,
    tokenize,
)
from highnoon.data.tokens import derived_writer
from highnoon.data.tokens.checked_array import DamagedStoreError
from highnoon.data.tokens.document_windows import DocumentWindows
from highnoon.tokenization import ByteTokenizer


@pytest.fixture
def store(tmp_path):
    lines = [f"line {number} " * (1 + number % 7) for number in range(40)]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    return tokenize(Files(tmp_path / "a.txt", split="line"), ByteTokenizer(), tmp_path)


class Doubling:
    """Computes twice the id and the pair (id, next id); counts its calls and may stop at one."""

    columns = {"double": DerivedColumn("<f4"), "pair": DerivedColumn("<i4", (2,))}

    def __init__(self, stop_at=None):
        self.calls, self.stop_at = 0, stop_at

    def __call__(self, batch):
        if self.calls == self.stop_at:
            raise KeyboardInterrupt
        self.calls += 1
        pair = np.stack([batch["token_ids"], batch["labels"]], axis=-1)
        return {"double": 2.0 * batch["token_ids"], "pair": pair}

    def derivation(self, weights_hash="w", **options):
        options = {"config": {}, "window": 16, **options}
        return Derivation(self.columns, self, weights_hash, **options)


def all_of(columns, name):
    return columns.read(name, np.arange(len(columns)))


def test_each_token_of_the_store_has_its_value(store):
    columns = derive_columns(store, Doubling().derivation())
    tokens = store.all_tokens[:].astype(np.int32)
    np.testing.assert_array_equal(all_of(columns, "double"), 2.0 * tokens)
    pairs = all_of(columns, "pair")
    assert pairs.dtype == np.int32 and pairs.shape == (len(tokens), 2)
    for document in range(len(store)):
        span = slice(store.offsets[document], store.offsets[document + 1])
        np.testing.assert_array_equal(pairs[span, 0], tokens[span])
        np.testing.assert_array_equal(pairs[span, 1], [*tokens[span][1:], 0])


def test_columns_are_computed_once_for_a_hash_and_a_configuration(store):
    first = Doubling()
    folder = derive_columns(store, first.derivation()).folder
    assert folder.parent.name == f"{store.folder.name}.columns" and first.calls > 0
    again = Doubling()
    assert derive_columns(store, again.derivation()).folder == folder and not again.calls
    for changes in ({"weights_hash": "v"}, {"config": {"layer": 2}}, {"window": 8}):
        other = Doubling()
        assert derive_columns(store, other.derivation(**changes)).folder != folder and other.calls


def test_another_store_is_another_column(store, tmp_path):
    (tmp_path / "b.txt").write_text("other text\n" * 3)
    other = tokenize(Files(tmp_path / "b.txt", split="line"), ByteTokenizer(), tmp_path)
    derivation = Doubling().derivation()
    assert derivation.key(store) != derivation.key(other)


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_computation_that_stopped_continues_with_the_same_bytes(store, tmp_path, monkeypatch, is_killed):
    whole = Doubling()
    expected = derive_columns(store, whole.derivation(), tmp_path / "whole")
    monkeypatch.setattr(derived_writer, "COMMIT_SECONDS", 0.0)
    if is_killed:
        # A killed process writes no journal on its way out: the last batch is behind the journal.
        monkeypatch.setattr(derived_writer.DerivedWriter, "__exit__", lambda *args: None)
    stopped = Doubling(stop_at=5)
    with pytest.raises(KeyboardInterrupt):
        derive_columns(store, stopped.derivation(), tmp_path / "c")
    assert not [path for path in (tmp_path / "c").iterdir() if not path.name.startswith(".")]
    (unfinished,) = [path for path in (tmp_path / "c").iterdir() if path.is_dir()]
    with (unfinished / "double.bin").open("ab") as stream:
        stream.write(b"half of a batch")
    monkeypatch.undo()
    resumed = Doubling()
    columns = derive_columns(store, resumed.derivation(), tmp_path / "c")
    assert resumed.calls == whole.calls - 5
    for name in ("double.bin", "pair.bin", "manifest.json"):
        assert (columns.folder / name).read_bytes() == (expected.folder / name).read_bytes()


def test_a_file_that_changed_before_resuming_is_computed_from_scratch(store, tmp_path, monkeypatch):
    monkeypatch.setattr(derived_writer, "COMMIT_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        derive_columns(store, Doubling(stop_at=5).derivation(), tmp_path / "c")
    (unfinished,) = [path for path in (tmp_path / "c").iterdir() if path.is_dir()]
    data = bytearray((unfinished / "double.bin").read_bytes())
    data[3] ^= 1
    (unfinished / "double.bin").write_bytes(data)
    resumed = Doubling()
    with pytest.warns(UserWarning, match="from scratch: a file has changed"):
        columns = derive_columns(store, resumed.derivation(), tmp_path / "c")
    np.testing.assert_array_equal(all_of(columns, "double"), 2.0 * store.all_tokens[:])


def test_a_changed_byte_is_found_when_it_is_read(store):
    columns = derive_columns(store, Doubling().derivation())
    path = columns.folder / "pair.bin"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedStoreError, match=r"pair\.bin is damaged"):
        all_of(derive_columns(store, Doubling().derivation()), "pair")


def test_a_folder_that_lacks_a_file_is_computed_again(store):
    columns = derive_columns(store, Doubling().derivation())
    (columns.folder / "pair.bin").unlink()
    with pytest.warns(UserWarning, match="computing derived columns again"):
        again = derive_columns(store, Doubling().derivation())
    assert all_of(again, "pair").shape == (len(again), 2)


def test_two_callers_at_once_compute_once(store):
    first_began, may_end = threading.Event(), threading.Event()
    slow, second = Doubling(), Doubling()

    def compute(batch):
        first_began.set()
        may_end.wait()
        return slow(batch)

    derivation = Derivation(Doubling.columns, compute, "w", {}, 16)
    threads = [threading.Thread(target=derive_columns, args=(store, derivation))]
    threads[0].start()
    first_began.wait()
    threads.append(threading.Thread(target=derive_columns, args=(store, second.derivation())))
    threads[1].start()
    may_end.set()
    for thread in threads:
        thread.join()
    assert slow.calls and not second.calls


def test_progress_is_told_to_the_end(store):
    told = []
    derive_columns(store, Doubling().derivation(), on_progress=lambda done, total: told.append((done, total)))
    total = len(DocumentWindows(store, 16))
    assert told[0] == (0, total) and told[-1] == (total, total) and sorted(told) == told


def test_a_value_a_document_reads_its_first_window(store):
    def first_id(batch):
        return {"first": batch["token_ids"][:, 1].astype("float32")}

    derivation = Derivation({"first": DerivedColumn("<f2")}, first_id, "w", {}, window=4, per="document")
    columns = derive_columns(store, derivation)
    expected = [store.tokens(document)[1] for document in range(len(store))]
    assert all_of(columns, "first").tolist() == expected


def test_rows_carry_derived_columns_where_their_tokens_are(store):
    columns = derive_columns(store, Doubling().derivation())
    for packing in (True, False):
        for split in ("train", "validation"):
            rows = PackedRows([store], row_length=24, split=split, packing=packing, derived=[columns])
            view = rows.view(0)
            batch = view.read(0, view.num_rows)
            is_token, is_supervised = batch["segment_ids"] > 0, batch["loss_weights"] > 0
            np.testing.assert_array_equal(batch["double"], 2.0 * batch["token_ids"] * is_token)
            np.testing.assert_array_equal(batch["pair"][is_token][:, 0], batch["token_ids"][is_token])
            np.testing.assert_array_equal(batch["pair"][is_supervised][:, 1], batch["labels"][is_supervised])
            assert batch["pair"].shape == (view.num_rows, 24, 2) and not batch["pair"][~is_token].any()


def test_rows_refuse_the_columns_of_another_store(store, tmp_path):
    (tmp_path / "b.txt").write_text("other text\n" * 30)
    other = tokenize(Files(tmp_path / "b.txt", split="line"), ByteTokenizer(), tmp_path)
    columns = derive_columns(other, Doubling().derivation())
    with pytest.raises(DataError, match="does not hold a value for each token"):
        PackedRows([store], derived=[columns])


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        (lambda batch: {"other": batch["token_ids"]}, "must return the columns"),
        (lambda batch: {"x": batch["token_ids"][:, :1]}, "of shape"),
        (lambda batch: {"x": np.full(batch["token_ids"].shape, np.nan)}, "not finite"),
    ],
)
def test_what_a_model_returns_is_checked(store, compute, message):
    with pytest.raises(DataError, match=message):
        derive_columns(store, Derivation({"x": DerivedColumn("<f4")}, compute, "w", {}, 8))


@pytest.mark.parametrize("options", [{"dtype": "float32"}, {"dtype": "<f4", "shape": (0,)}])
def test_a_column_of_an_unknown_form_is_refused(options):
    with pytest.raises(DataError, match="a derived column's"):
        DerivedColumn(**options)


def test_windows_say_where_there_is_a_label(store):
    windows = DocumentWindows(store, window=16)
    batch, is_token = windows.read(0, len(windows))
    has_label = batch["loss_weights"] > 0
    assert batch["loss_weights"].dtype == np.float32 and not (has_label & ~is_token).any()
    assert has_label.sum() == sum(store.lengths - 1)
    tokens = store.all_tokens[:].astype(np.int32)
    is_last = np.isin(np.arange(len(tokens)), store.offsets[1:] - 1)
    np.testing.assert_array_equal(batch["labels"][has_label], tokens[1:][~is_last[:-1]])


def scaled(factor, dtype="<f4"):
    return Derivation(
        {"scaled": DerivedColumn(dtype)},
        lambda batch: {"scaled": factor * batch["token_ids"]},
        f"hash of {factor}",
        {},
        window=16,
    )


def test_stacked_columns_are_one_column_of_the_batch(store):
    parts = [derive_columns(store, scaled(factor)) for factor in (1, 2, 3)]
    stacked = StackedColumns("all", "scaled", parts)
    assert len(stacked) == len(parts[0]) and stacked.columns == {"all": DerivedColumn("<f4", (3,))}
    for split in ("train", "validation"):
        batch = PackedRows([store], 12, split=split, derived=[stacked]).view(0).read(0, 3)
        assert batch["all"].shape == (3, 12, 3) and batch["all"].dtype == np.float32
        np.testing.assert_array_equal(batch["all"], batch["token_ids"][..., None] * np.array([1.0, 2.0, 3.0]))


def test_parts_of_another_type_or_store_are_not_stacked(store, tmp_path):
    one = derive_columns(store, scaled(1))
    with pytest.raises(DataError, match="one store, type and shape"):
        StackedColumns("all", "scaled", [one, derive_columns(store, scaled(1, "<i4"))])
    (tmp_path / "b.txt").write_text("other text\n" * 3)
    other = tokenize(Files(tmp_path / "b.txt", split="line"), ByteTokenizer(), tmp_path)
    with pytest.raises(DataError, match="one store, type and shape"):
        StackedColumns("all", "scaled", [one, derive_columns(other, scaled(1))])
    with pytest.raises(DataError, match="has no column `tripled`"):
        StackedColumns("all", "tripled", [one])
    with pytest.raises(DataError, match="at least one part"):
        StackedColumns("all", "scaled", [])
    with pytest.raises(DataError, match="does not hold a value for each token"):
        PackedRows([other], 12, derived=[StackedColumns("all", "scaled", [one])])
