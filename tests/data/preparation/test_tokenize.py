"""The cache of tokens: its key, its wholeness, what it gives back."""

from __future__ import annotations

import json
import pathlib
import random
import warnings
from collections.abc import Callable

import numpy as np
import pytest

from highnoon.data import DataError, Document, DocumentSource, Files, TokenStore, tokenize
from highnoon.data.preparation.tokenize import default_cache_dir
from highnoon.data.tokens.splitting import split_hash, split_threshold
from highnoon.tokenization import ByteTokenizer, QWTTextTokenizer, Tokenizer

TEXTS = ["first text", "second, with é and 日本 <|eos|>", "  third\r\n\n", "four"]
MakeSource = Callable[..., DocumentSource]


@pytest.fixture
def bpe() -> QWTTextTokenizer:
    return QWTTextTokenizer().train_from_texts(TEXTS * 3, vocab_size=300)


def folders(cache: pathlib.Path) -> list[pathlib.Path]:
    return sorted((cache / "tokens").iterdir())


def test_every_text_comes_back_exactly(
    make_source: MakeSource, bpe: QWTTextTokenizer, tmp_path: pathlib.Path
) -> None:
    for tokenizer in (ByteTokenizer(), bpe):
        store = tokenize(make_source(TEXTS), tokenizer, tmp_path, validation_split=0.0)
        assert [store.text(i) for i in range(len(store))] == TEXTS
        assert [store.tokens(i).tolist() for i in range(4)] == [tokenizer.encode(text) for text in TEXTS]
        assert store.num_bytes.tolist() == [len(text.encode()) for text in TEXTS]
        assert store.lengths.tolist() == [len(tokenizer.encode(text)) for text in TEXTS]
        assert store.tokens(0).dtype == np.int32


def test_many_batches_give_the_same_tokens_as_one_by_one(
    make_source: MakeSource, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chooser = random.Random(0)
    texts = ["x" * chooser.randrange(1, 90) for _ in range(300)]
    whole = tokenize(make_source(texts), ByteTokenizer(), tmp_path / "whole")
    monkeypatch.setattr("highnoon.data.preparation.fill_store._BATCH_CHARACTERS", 50)
    parts = tokenize(make_source(texts), ByteTokenizer(), tmp_path / "parts")
    assert np.array_equal(whole.all_tokens, parts.all_tokens)
    assert np.array_equal(whole.is_validation, parts.is_validation)


def test_wide_vocabularies_take_four_bytes_a_token(make_source: MakeSource, tmp_path: pathlib.Path) -> None:
    class Wide(ByteTokenizer):
        @property
        def vocab_size(self) -> int:
            return 1 << 17

        def to_json(self) -> str:
            return "wide"

        def encode_packed(self, texts):  # type: ignore[no-untyped-def]
            return np.full(len(texts), 100_000, np.int32), np.ones(len(texts), np.int64)

    store = tokenize(make_source(["a"]), Wide(), tmp_path, validation_split=0.0)
    assert store.tokens(0).tolist() == [2, 100_000, 3]
    assert store.all_tokens.dtype == np.uint32


def test_the_cache_is_used_and_a_changed_byte_is_a_new_key(tmp_path: pathlib.Path, bpe: Tokenizer) -> None:
    file, cache = tmp_path / "a.txt", tmp_path / "cache"
    file.write_text("some text")
    first = tokenize(Files(file), ByteTokenizer(), cache, 0.0)
    written = (first.folder / "manifest.json").stat().st_mtime_ns
    assert tokenize(Files(file), ByteTokenizer(), cache, 0.0).folder == first.folder
    assert (first.folder / "manifest.json").stat().st_mtime_ns == written
    assert tokenize(Files(file), bpe, cache, 0.0).folder != first.folder
    file.write_text("some test")
    assert tokenize(Files(file), ByteTokenizer(), cache, 0.0).text(0) == "some test"
    assert len(folders(cache)) == 3


@pytest.mark.parametrize("name", ["tokens.bin", "lengths.bin", "split_hashes.bin", "manifest.json"])
def test_a_cut_cache_file_is_noticed_and_made_again(
    make_source: MakeSource, tmp_path: pathlib.Path, name: str
) -> None:
    store = tokenize(make_source(TEXTS), ByteTokenizer(), tmp_path, 0.0)
    file = store.folder / name
    whole = file.read_bytes()
    file.write_bytes(whole[:-3])
    with pytest.warns(UserWarning, match="writing the cached tokens of texts again"):
        again = tokenize(make_source(TEXTS), ByteTokenizer(), tmp_path, 0.0)
    assert file.read_bytes() == whole
    assert [again.text(i) for i in range(4)] == TEXTS
    assert folders(tmp_path) == [store.folder]


def test_a_store_of_a_damaged_folder_is_an_error(make_source: MakeSource, tmp_path: pathlib.Path) -> None:
    store = tokenize(make_source(TEXTS), ByteTokenizer(), tmp_path, 0.0)
    (store.folder / "domains.bin").unlink()
    with pytest.raises(DataError, match=r"domains\.bin should have 8 bytes and has 0"):
        TokenStore(store.folder, ByteTokenizer())
    with pytest.raises(DataError, match="has no complete set of tokens"):
        TokenStore(tmp_path, ByteTokenizer())


def test_an_error_while_reading_leaves_nothing_behind(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "fine"}\n{"no": 1}\n')
    with pytest.raises(DataError, match=r"a\.jsonl:2"):
        tokenize(Files(tmp_path / "a.jsonl"), ByteTokenizer(), tmp_path / "cache")
    assert folders(tmp_path / "cache") == []


def test_another_process_that_was_first_is_no_error(
    make_source: MakeSource, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_source(TEXTS)
    expected = tokenize(source, ByteTokenizer(), tmp_path / "one", 0.0)

    class Race(type(source)):  # type: ignore[misc]
        def documents(self):  # type: ignore[no-untyped-def]
            tokenize(source, ByteTokenizer(), tmp_path / "two", 0.0)
            return source.documents()

        def fingerprint(self) -> str:
            return source.fingerprint()

    store = tokenize(Race(TEXTS), ByteTokenizer(), tmp_path / "two", 0.0)
    assert np.array_equal(store.all_tokens, expected.all_tokens)
    assert len(folders(tmp_path / "two")) == 1


def test_the_split_follows_the_text_and_not_what_stands_next_to_it(
    make_source: MakeSource, tmp_path: pathlib.Path
) -> None:
    texts = [f"document number {number}" for number in range(400)]
    few = tokenize(make_source(texts[:100] * 2), ByteTokenizer(), tmp_path)
    many = tokenize(make_source(texts[::-1]), ByteTokenizer(), tmp_path)
    side = {many.text(i): bool(many.is_validation[i]) for i in range(len(many))}
    assert all(side[few.text(i)] == few.is_validation[i] for i in range(len(few)))
    assert side == {text: split_hash(text) < split_threshold(0.1) for text in texts}
    assert 20 <= many.is_validation.sum() <= 60


def test_the_fraction_held_out_may_change_without_tokenizing_again(
    make_source: MakeSource, tmp_path: pathlib.Path
) -> None:
    texts = [f"document number {number}" for number in range(100)]
    some = tokenize(make_source(texts), ByteTokenizer(), tmp_path, 0.2)
    none = tokenize(make_source(texts), ByteTokenizer(), tmp_path, 0.0)
    assert some.folder == none.folder
    assert some.is_validation.any() and not none.is_validation.any()


def test_a_split_that_leaves_nothing_to_train_on_is_an_error(
    make_source: MakeSource, tmp_path: pathlib.Path
) -> None:
    held_out = next(text for text in map(str, range(99)) if split_hash(text) < split_threshold(0.1))
    with pytest.raises(DataError, match="all 1 documents of texts are in the 10% that are held out"):
        tokenize(make_source([held_out]), ByteTokenizer(), tmp_path)
    assert len(tokenize(make_source([held_out]), ByteTokenizer(), tmp_path, 0.0)) == 1


def test_a_source_without_documents_is_an_error(make_source: MakeSource, tmp_path: pathlib.Path) -> None:
    with pytest.raises(DataError, match="texts has no documents"):
        tokenize(make_source([]), ByteTokenizer(), tmp_path)
    assert folders(tmp_path) == []


def test_domains_and_bounds_of_a_store(make_source: MakeSource, tmp_path: pathlib.Path) -> None:
    class Domains(DocumentSource):
        name = "domains"

        def documents(self):  # type: ignore[no-untyped-def]
            return (Document(text, domain=domain) for text, domain in (("a", "x"), ("b", "y"), ("c", "x")))

        def _describe(self, digest) -> None:  # type: ignore[no-untyped-def]
            digest.update(b"1")

    store = tokenize(Domains(), ByteTokenizer(), tmp_path, 0.0)
    assert [store.domain(i) for i in range(3)] == ["x", "y", "x"]
    for call in (store.domain, store.tokens, store.text):
        with pytest.raises(IndexError, match="documents 0 to 2; received 3"):
            call(3)


def test_the_manifest_says_what_is_there(make_source: MakeSource, tmp_path: pathlib.Path) -> None:
    store = tokenize(make_source(TEXTS), ByteTokenizer(), tmp_path, 0.0)
    manifest = json.loads((store.folder / "manifest.json").read_text())
    assert manifest["documents"] == 4
    assert manifest["sizes"] == {
        file.name: file.stat().st_size for file in store.folder.iterdir() if file.name != "manifest.json"
    }
    assert store.fingerprint == store.folder.name


def test_the_cache_is_where_it_is_asked_to_be(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setenv("HIGHNOON_CACHE", str(tmp_path))
    assert default_cache_dir() == tmp_path
    assert default_cache_dir("elsewhere") == pathlib.Path("elsewhere")
    monkeypatch.delenv("HIGHNOON_CACHE")
    assert default_cache_dir() == pathlib.Path("~/.cache/highnoon").expanduser()


def test_a_good_cache_gives_no_warning(make_source: MakeSource, tmp_path: pathlib.Path) -> None:
    tokenize(make_source(TEXTS), ByteTokenizer(), tmp_path, 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tokenize(make_source(TEXTS), ByteTokenizer(), tmp_path, 0.0)
