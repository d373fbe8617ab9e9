"""Damage in stores of tokens: noticed, named, and repaired where that is possible."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from highnoon.data import DataError, Files, PackedRows, PreparedTokens, TokenStore, prepare, tokenize
from highnoon.data.preparation import tokenize as tokenizing_module
from highnoon.data.records.read_options import ReadOptions
from highnoon.data.tokens.checked_array import CheckedArray, DamagedStoreError
from highnoon.data.tokens.encoding import encode_batch
from highnoon.data.tokens.store_writer import StoreWriter
from highnoon.files import block_hashes
from highnoon.files.sealed_json import seal, without_digest
from highnoon.tokenization import ByteTokenizer

TEXTS = [f"text number {number} with words" for number in range(40)]
FILES = ["tokens.bin", "lengths.bin", "num_bytes.bin", "split_hashes.bin", "domains.bin", "manifest.json"]


@pytest.fixture
def source(tmp_path: pathlib.Path) -> Files:
    file = tmp_path / "source.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    return Files(file)


def flip(file: pathlib.Path, byte: int = -30) -> None:
    content = bytearray(file.read_bytes())
    content[byte] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_in_the_cache_is_named_and_made_again(source, tmp_path, name):
    store = tokenize(source, ByteTokenizer(), tmp_path / "cache")
    whole = (store.folder / name).read_bytes()
    flip(store.folder / name)
    with pytest.warns(UserWarning, match=f"writing the cached tokens of .* again: .*{name}"):
        again = tokenize(source, ByteTokenizer(), tmp_path / "cache")
    assert (again.folder / name).read_bytes() == whole
    assert [path.name for path in again.folder.parent.iterdir()] == [again.folder.name]


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_in_a_prepared_folder_is_refused_with_what_repairs_it(source, tmp_path, name):
    folder = prepare(source, ByteTokenizer(), tmp_path / "prepared", num_workers=1).folder
    flip(folder / name)
    words = f"{name}.*remove .*prepared and create it .*highnoon data prepare"
    with pytest.raises(DamagedStoreError, match=words):
        store = TokenStore.open(folder)
        PackedRows([store], row_length=8).view(0).read(0, 200)


def test_a_flipped_bit_of_the_tokenizer_is_refused(source, tmp_path):
    folder = prepare(source, ByteTokenizer(), tmp_path / "prepared", num_workers=1).folder
    file = folder / "tokenizer.json"
    file.write_text(file.read_text().replace("<|eos|>", "<|eot|>"))
    with pytest.raises(DamagedStoreError, match="tokenizer"):
        PreparedTokens(folder)


def test_a_store_without_hashes_is_read_and_an_id_beyond_the_vocabulary_is_damage(source, tmp_path):
    folder = prepare(source, ByteTokenizer(), tmp_path / "prepared", num_workers=1).folder
    manifest = without_digest(json.loads((folder / "manifest.json").read_text()))
    del manifest["hashes"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    store = TokenStore.open(folder)
    assert store.text(3) == TEXTS[3]
    tokens = np.fromfile(folder / "tokens.bin", "<u2")
    tokens[5] = ByteTokenizer().vocab_size
    tokens.tofile(folder / "tokens.bin")
    with pytest.raises(DamagedStoreError, match="tokens.bin is damaged.* value 263, .* must be below 263"):
        TokenStore.open(folder).tokens(7)


def test_a_domain_that_has_no_name_is_damage_in_a_store_without_hashes(source, tmp_path):
    folder = prepare(source, ByteTokenizer(), tmp_path / "prepared", num_workers=1).folder
    manifest = without_digest(json.loads((folder / "manifest.json").read_text()))
    del manifest["hashes"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    np.full(len(TEXTS), 9, "<u2").tofile(folder / "domains.bin")
    with pytest.raises(DamagedStoreError, match="a domain index of 1 or more"):
        TokenStore.open(folder)


def test_a_large_cache_is_checked_by_block_when_it_is_read(source, tmp_path, monkeypatch):
    monkeypatch.setattr(block_hashes, "BLOCK_BYTES", 64)
    monkeypatch.setattr("highnoon.data.tokens.checked_array.BLOCK_BYTES", 64)
    monkeypatch.setattr("highnoon.data.tokens.token_store.BLOCK_BYTES", 64)
    monkeypatch.setattr(tokenizing_module, "_CHECKED_BYTES", 0)
    store = tokenize(source, ByteTokenizer(), tmp_path / "cache")
    flip(store.folder / "tokens.bin", byte=2 * int(store.offsets[20]))
    store = tokenize(source, ByteTokenizer(), tmp_path / "cache")
    assert store.text(3) == TEXTS[3]
    with pytest.raises(DamagedStoreError, match="tokens.bin is damaged: some of its bytes .* have changed"):
        store.tokens(20)
    assert store.text(39) == TEXTS[39]


@pytest.mark.parametrize("name", ["progress.json", "tokens.bin", "lengths.bin"])
def test_damaged_unfinished_work_is_started_again_in_the_cache_and_refused_in_a_named_folder(
    source, tmp_path, name, monkeypatch
):
    monkeypatch.setattr("highnoon.data.preparation.fill_store._BATCH_CHARACTERS", 200)

    class Stopped(Files):
        def documents(self):
            yield from list(super().documents())[:30]
            raise KeyboardInterrupt

        def fingerprint(self):
            return source.fingerprint()

    # Of a given kind, so that no row is read before the work begins.
    stopped = Stopped(source.paths[0], options=ReadOptions(kind="text"))
    with pytest.raises(KeyboardInterrupt):
        prepare(stopped, ByteTokenizer(), tmp_path / "prepared", num_workers=1)
    with pytest.raises(KeyboardInterrupt):
        tokenize(stopped, ByteTokenizer(), tmp_path / "cache", num_workers=1)
    (unfinished,) = (tmp_path / "cache" / "tokens").iterdir()
    for folder in (tmp_path / "prepared", unfinished):
        flip(folder / name, byte=-3 if name != "progress.json" else 20)
    with pytest.raises(DataError, match="remove .*prepared and prepare again"):
        prepare(source, ByteTokenizer(), tmp_path / "prepared", num_workers=1)
    with pytest.warns(UserWarning, match="the tokens of an earlier call are damaged; starting again"):
        store = tokenize(source, ByteTokenizer(), tmp_path / "cache", num_workers=1)
    assert [store.text(number) for number in range(len(store))] == TEXTS


def test_an_error_within_a_batch_leaves_a_journal_that_fits(source, tmp_path, monkeypatch):
    tokenizer = ByteTokenizer()
    batches = [encode_batch(TEXTS[start : start + 10], [None] * 10, tokenizer) for start in (0, 10)]
    write = StoreWriter._write

    def full(self, name, values, dtype):
        if name == "tokens.bin" and self.progress.documents:
            raise OSError(28, "No space left on device")
        write(self, name, values, dtype)

    monkeypatch.setattr(StoreWriter, "_write", full)
    (tmp_path / "s").mkdir()
    with pytest.raises(OSError), StoreWriter(tmp_path / "s", "key", tokenizer, "texts", 0.1) as writer:
        for batch in batches:
            writer.append(batch, ["default"] * 10)
    monkeypatch.undo()
    with StoreWriter(tmp_path / "s", "key", tokenizer, "texts", 0.1) as writer:
        assert writer.progress.documents == 10
        writer.append(batches[1], ["default"] * 10)
        writer.finish()
    store = TokenStore.open(tmp_path / "s")
    store.check()
    assert [store.text(number) for number in range(20)] == TEXTS[:20]


@pytest.mark.parametrize(
    "index",
    [
        3,
        -1,
        slice(10, 50),
        slice(None, None, -7),
        slice(5, 5),
        np.array([70, 3, 3]),
        np.array([-1, -64]),
        np.array([[1, 2], [3, 4]]),
        np.arange(100) % 3 == 0,
        [],
        ...,
    ],
)
def test_indexing_is_numpy_s(tmp_path, monkeypatch, index):
    monkeypatch.setattr(block_hashes, "BLOCK_BYTES", 16)
    monkeypatch.setattr("highnoon.data.tokens.checked_array.BLOCK_BYTES", 16)
    values = np.arange(100, dtype="<u2")
    values.tofile(tmp_path / "v")
    hasher = block_hashes.BlockHasher()
    hasher.update(values.data)
    checked = CheckedArray(tmp_path / "v", "<u2", 100, 200, hasher.text, 100, "remove it")
    assert np.array_equal(checked[index], values[index])
    assert np.array_equal(np.asarray(checked), values) and len(checked) == 100


@pytest.mark.parametrize("pieces", [[200], [1] * 200, [64, 64, 72], [63, 2, 135]])
def test_hashes_do_not_depend_on_the_pieces_that_a_file_is_written_in(monkeypatch, pieces):
    monkeypatch.setattr(block_hashes, "BLOCK_BYTES", 64)
    data, whole, hasher = bytes(range(200)), block_hashes.BlockHasher(), block_hashes.BlockHasher()
    whole.update(data)
    for length in pieces:
        hasher.update(data[:length])
        data = data[length:]
    assert hasher.text == whole.text and len(whole.text) == 4 * 16


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "source.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    prepare(Files(folder / "source.jsonl"), ByteTokenizer(), folder / "store", num_workers=1)
    return folder / "store"


def read_all(folder: pathlib.Path) -> list[str] | None:
    """Returns the texts of a store, None where it is refused."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            store = TokenStore.open(folder)
            return [store.text(number) for number in range(len(store))]
    except DataError as error:
        assert "\n" not in str(error)
        return None


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(data=st.data(), value=JSON, is_sealed=st.booleans())
def test_any_json_in_a_store_s_manifest_is_refused_or_changes_nothing(prepared, data, value, is_sealed):
    whole = (prepared / "manifest.json").read_bytes()
    manifest = without_digest(json.loads(whole))
    key = data.draw(st.sampled_from([*manifest, "everything"]))
    changed = value if key == "everything" else {**manifest, key: value}
    if is_sealed and isinstance(changed, dict):
        changed = seal(changed)
    (prepared / "manifest.json").write_text(json.dumps(changed))
    try:
        assert read_all(prepared) in (None, TEXTS)
    finally:
        (prepared / "manifest.json").write_bytes(whole)


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(data=st.data())
def test_any_flipped_bit_in_a_store_is_refused_or_changes_nothing(prepared, data):
    file = data.draw(st.sampled_from(sorted(prepared.iterdir())))
    whole = file.read_bytes()
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    changed = bytearray(whole)
    changed[bit // 8] ^= 1 << bit % 8
    file.write_bytes(changed)
    try:
        assert read_all(prepared) in (None, TEXTS)
    finally:
        file.write_bytes(whole)


PRIVATE = """
import os, sys
from highnoon.data import Files, tokenize
from highnoon.tokenization import ByteTokenizer
class Dying(Files):
    def documents(self):
        yield next(super().documents())
        os._exit(9)
    def fingerprint(self):
        return Files(self.paths[0]).fingerprint()
tokenize(Dying(sys.argv[1]), ByteTokenizer(), sys.argv[2], num_workers=1)
"""


@pytest.mark.slow
def test_what_killed_calls_left_in_the_cache_is_gone_after_the_next(source, tmp_path):
    tokens = tmp_path / "cache" / "tokens"

    class Meanwhile(Files):
        def documents(self):
            # While this process holds the lock, another works by itself and is killed.
            command = [sys.executable, "-c", PRIVATE, str(source.paths[0]), str(tmp_path / "cache")]
            assert subprocess.run(command).returncode == 9
            assert len(list(tokens.glob(".*-????????"))) == 1
            return super().documents()

        def fingerprint(self):
            return source.fingerprint()

    # Of a given kind, so that the documents are read once.
    meanwhile = Meanwhile(source.paths[0], options=ReadOptions(kind="text"))
    tokenize(meanwhile, ByteTokenizer(), tmp_path / "cache", num_workers=1)
    (folder,) = [path for path in tokens.iterdir() if not path.name.startswith(".")]
    flip(folder / "manifest.json")
    with pytest.warns(UserWarning, match="again"):
        tokenize(source, ByteTokenizer(), tmp_path / "cache", num_workers=1)
    assert [path.name for path in tokens.iterdir()] == [folder.name]
