"""Labels of records: from the record to the token store and to rows."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from highnoon.data import (
    ClassificationRows,
    CleanedSource,
    DataError,
    Files,
    LabeledDocuments,
    PreparedTokens,
    ReadOptions,
    TokenStore,
    prepare,
    tokenize,
)
from highnoon.data.bad_records import left_out
from highnoon.data.cleaning import Length
from highnoon.data.preparation.tokenize import store_key
from highnoon.data.records.record_label import record_label
from highnoon.data.sources.labeled_documents import labeled
from highnoon.tokenization import ByteTokenizer

LABELS = ["cat", 3, "dog", 3.0, True, "cat"]


def write_records(path, labels=LABELS, field="label"):
    lines = [json.dumps({"text": f"record {number}", field: label}) for number, label in enumerate(labels)]
    path.write_text("".join(line + "\n" for line in lines))
    return path


def make_store(tmp_path, num_records=40, split=0.25):
    path = write_records(tmp_path / "many.jsonl", [("b", "a", 7)[n % 3] for n in range(num_records)])
    return tokenize(LabeledDocuments(Files(path)), ByteTokenizer(), tmp_path, validation_split=split)


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ("a", "a"),
        (" a ", "a"),
        (b"a", "a"),
        (3, "3"),
        (np.int64(3), "3"),
        (3.0, "3"),
        (True, "1"),
        (0, "0"),
        (None, None),
        ("", None),
        (0.5, None),
        (float("nan"), None),
        ([1], None),
        ({"a": 1}, None),
    ],
)
def test_a_label_is_a_string_or_an_integer(value, label):
    assert record_label(value) == label


def test_labels_travel_from_records_to_the_store(tmp_path):
    source = LabeledDocuments(Files(write_records(tmp_path / "a.jsonl")))
    store = tokenize(source, ByteTokenizer(), tmp_path, validation_split=0.0)
    assert [store.label(number) for number in range(6)] == ["cat", "3", "dog", "3", "1", "cat"]
    assert store.label_names == ["cat", "3", "dog", "1"]


def test_labels_of_another_field_are_another_store(tmp_path):
    path = write_records(tmp_path / "a.jsonl", field="kind")
    source = LabeledDocuments(Files(path, options=ReadOptions(label_field="kind")))
    assert [document.label for document in source.documents()][0] == "cat"
    assert source.fingerprint() != LabeledDocuments(Files(path)).fingerprint()


def test_sources_without_labels_keep_their_key_and_files(tmp_path):
    path = write_records(tmp_path / "a.jsonl")
    plain, other = Files(path), Files(path, options=ReadOptions(label_field="kind"))
    tokenizer = ByteTokenizer()
    assert plain.fingerprint() == other.fingerprint()
    assert store_key(plain, tokenizer) != store_key(LabeledDocuments(plain), tokenizer)
    store = tokenize(plain, tokenizer, tmp_path, validation_split=0.0)
    assert store.labels is None and store.label(0) is None
    assert not {"labels.bin"} & set(store.manifest["sizes"]) and "label_names" not in store.manifest


def test_a_record_without_a_label_is_bad(tmp_path):
    path = write_records(tmp_path / "a.jsonl", ["x", None, "y"])
    with pytest.raises(DataError, match=r"a\.jsonl record .*expected a label.*skip_bad"):
        list(LabeledDocuments(Files(path)).documents())
    skipping = LabeledDocuments(Files(path, options=ReadOptions(skip_bad=True)))
    assert [document.label for document in skipping.documents()] == ["x", "y"]
    assert left_out(skipping)["reasons"]["no label"]["count"] == 1


def test_cleaning_keeps_labels(tmp_path):
    source = labeled(CleanedSource(Files(write_records(tmp_path / "a.jsonl")), [Length(3)]))
    assert [document.label for document in source.documents()] == ["cat", "3", "dog", "3", "1", "cat"]


def test_a_prepared_folder_has_its_labels_or_is_refused(tmp_path):
    files, tokenizer = Files(write_records(tmp_path / "a.jsonl")), ByteTokenizer()
    prepare(LabeledDocuments(files), tokenizer, tmp_path / "labeled", validation_split=0.0)
    prepared = PreparedTokens(tmp_path / "labeled")
    assert labeled(prepared) is prepared
    assert [document.label for document in prepared.documents()] == ["cat", "3", "dog", "3", "1", "cat"]
    assert TokenStore.open(tmp_path / "labeled", documents=2).labels.tolist() == [0, 1]
    prepare(files, tokenizer, tmp_path / "plain", validation_split=0.0)
    with pytest.raises(DataError, match="was prepared without labels"):
        labeled(PreparedTokens(tmp_path / "plain"))


def test_a_preparation_that_stopped_continues_with_its_labels(tmp_path, monkeypatch):
    labels = [("a", "b", "c")[number % 3] if number > 10 else "first" for number in range(6000)]
    files, tokenizer = Files(write_records(tmp_path / "a.jsonl", labels)), ByteTokenizer()
    stopping = LabeledDocuments(files)

    def first_documents():
        yield from itertools.islice(LabeledDocuments(files).documents(), 5000)
        raise KeyboardInterrupt

    monkeypatch.setattr(stopping, "documents", first_documents)
    with pytest.raises(KeyboardInterrupt):
        prepare(stopping, tokenizer, tmp_path / "stopped", num_workers=1)
    store = prepare(LabeledDocuments(files), tokenizer, tmp_path / "stopped", num_workers=1)
    assert [store.label(number) for number in range(6000)] == labels
    whole = prepare(LabeledDocuments(files), tokenizer, tmp_path / "whole", num_workers=1)
    for name in whole.manifest["sizes"]:
        assert (store.folder / name).read_bytes() == (whole.folder / name).read_bytes()


def test_rows_hold_one_document_each_and_its_label(tmp_path):
    store, labels = make_store(tmp_path), ["7", "a", "b"]
    for split in ("train", "validation"):
        rows = ClassificationRows([store], labels, row_length=9, split=split)
        view = rows.view(0)
        batch = view.read(0, view.num_rows)
        assert view.num_rows == rows.num_documents
        seen = [int(view.documents_of(row)[0]) for row in range(view.num_rows)]
        assert sorted(seen) == list(range(rows.num_documents))
        for row, document in enumerate(seen):
            tokens = rows.tokens(document)[:9]
            assert batch["token_ids"][row, : len(tokens)].tolist() == tokens.tolist()
            assert batch["padding_mask"][row].tolist() == [1] * len(tokens) + [0] * (9 - len(tokens))
            number = int(rows.text(document).split()[1])
            assert labels[batch["label"][row]] == str(("b", "a", 7)[number % 3])
        assert batch["weight"].tolist() == [1.0] * view.num_rows
    assert rows.report()["truncated"] == rows.num_truncated > 0


def test_a_split_shorter_than_a_row_of_packed_tokens_is_no_reason_to_warn(tmp_path, recwarn):
    rows = ClassificationRows([make_store(tmp_path, 9)], ["7", "a", "b"], row_length=4096)
    assert rows.num_tokens < rows.row_length and not recwarn.list


def test_rows_are_a_function_of_seed_epoch_and_row(tmp_path):
    rows = ClassificationRows([make_store(tmp_path)], ["7", "a", "b"], row_length=12)
    for epoch in (0, 1):
        whole = rows.view(epoch).read(0, 100)
        for start in range(0, len(whole["label"]), 7):
            part = rows.view(epoch).read(start, 7)
            for name, array in part.items():
                assert np.array_equal(array, whole[name][start : start + 7])
    assert not np.array_equal(rows.view(0).read(0, 30)["token_ids"], rows.view(1).read(0, 30)["token_ids"])
    assert rows.view(0, documents=[3, 5]).num_rows == 2


def test_weights_mix_stores_of_labeled_documents(tmp_path):
    (tmp_path / "b").mkdir()
    stores = [make_store(tmp_path, 30), make_store(tmp_path / "b", 60)]
    rows = ClassificationRows(stores, ["7", "a", "b"], row_length=12, weights=[0.75, 0.25])
    assert rows.report()["stores"][0]["share_actual"] == pytest.approx(0.75, abs=0.02)


def test_an_unknown_label_is_a_bad_record(tmp_path):
    with pytest.raises(DataError, match=r"validation split: expected a label among a, b; received '7'"):
        ClassificationRows([make_store(tmp_path)], ["a", "b"], split="validation")


def test_a_store_with_a_damaged_label_is_refused(tmp_path):
    store = make_store(tmp_path)
    (store.folder / "labels.bin").write_bytes(bytes(4 * len(store)))
    with pytest.raises(DataError, match=r"labels\.bin is damaged"):
        TokenStore(store.folder, ByteTokenizer())
