"""A store records the file and the line or record of each document; older stores do not and still read."""

from __future__ import annotations

import json
import shutil

from highnoon.data import PackedRows, PreparedTokens, TokenStore, open_source, prepare, tokenize
from highnoon.data.tokens import store_writer
from highnoon.tokenization import ByteTokenizer


def _folder(tmp_path):
    folder = tmp_path / "texts"
    (folder / "tales").mkdir(parents=True)
    lines = [{"text": f"record {number}", "id": f"own-{number}", "source": "book"} for number in range(3)]
    (folder / "tales" / "a.jsonl").write_text("".join(json.dumps(line) + "\n\n" for line in lines))
    (folder / "tales" / "b.csv").write_text('text\n"two\nlines"\nlast\n')
    (folder / "tales" / "c.txt").write_text("one\ntwo\n")
    return folder


def test_each_document_names_its_file_and_record(tmp_path):
    folder = _folder(tmp_path)
    store = prepare(
        open_source(str(folder), split="line"), ByteTokenizer(), tmp_path / "out", validation_split=0
    )
    expected = [
        "a.jsonl:1",
        "a.jsonl:3",
        "a.jsonl:5",
        "b.csv:2",
        "b.csv:4",
        "c.txt document 0",
        "c.txt document 1",
    ]
    expected = [f"{folder}/tales/{origin}" for origin in expected]
    assert [store.origin(number) for number in range(len(store))] == expected
    rows = PackedRows(store, 16)
    assert [rows.origin(number) for number in range(7)] == expected
    # Through a prepared folder that is tokenized again.
    prepared = PreparedTokens(tmp_path / "out")
    assert [document.location for document in prepared.documents()] == expected
    assert (
        tokenize(open_source(["x"]), ByteTokenizer(), tmp_path, 0.0).origin(0) == "list of 1 texts record 0"
    )


def test_a_store_of_an_older_version_has_no_origins(tmp_path, monkeypatch):
    folder = _folder(tmp_path)
    monkeypatch.setattr(store_writer.StoreWriter, "_write_origins", lambda self, origins: None)
    store = prepare(open_source(str(folder)), ByteTokenizer(), tmp_path / "old", validation_split=0)
    assert store.origin(0) is None and not (tmp_path / "old" / "origins.bin").exists()
    assert "origin_names" not in store.manifest


def test_a_resumed_preparation_records_the_same(tmp_path, monkeypatch):
    folder = _folder(tmp_path)
    source = open_source(str(folder), split="line")
    whole = prepare(source, ByteTokenizer(), tmp_path / "whole", validation_split=0)
    from highnoon.data.preparation import fill_store

    monkeypatch.setattr(fill_store, "_BATCH_DOCUMENTS", 2)
    stops = iter([None, None, KeyboardInterrupt()])

    def stop(*arguments):
        if error := next(stops, None):
            raise error

    original = store_writer.StoreWriter.append

    def append(self, *arguments):
        original(self, *arguments)
        stop()

    monkeypatch.setattr(store_writer.StoreWriter, "append", append)
    try:
        prepare(source, ByteTokenizer(), tmp_path / "parts", validation_split=0, num_workers=1)
    except KeyboardInterrupt:
        pass
    else:
        raise AssertionError("not stopped")
    prepare(source, ByteTokenizer(), tmp_path / "parts", validation_split=0, num_workers=1)
    parts = TokenStore.open(tmp_path / "parts")
    assert [parts.origin(n) for n in range(len(parts))] == [whole.origin(n) for n in range(len(whole))]
    assert (tmp_path / "parts" / "origins.bin").read_bytes() == (
        tmp_path / "whole" / "origins.bin"
    ).read_bytes()


def test_a_moved_folder_still_opens(tmp_path):
    prepare(open_source(str(_folder(tmp_path))), ByteTokenizer(), tmp_path / "out", validation_split=0)
    shutil.move(tmp_path / "out", tmp_path / "moved")
    assert TokenStore.open(tmp_path / "moved").origin(0).endswith("a.jsonl:1")
