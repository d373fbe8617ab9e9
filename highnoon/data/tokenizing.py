"""Tokenising a source once, into a cache keyed by all that decides the result."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any

import numpy as np

from highnoon.data.document import DataError, Document, DocumentSource
from highnoon.data.splitting import split_hash, split_threshold
from highnoon.data.token_store import (
    COLUMNS,
    MANIFEST_FILE,
    STORE_VERSION,
    TOKENS_FILE,
    DamagedStoreError,
    TokenStore,
)
from highnoon.tokenization import Tokenizer

# Texts are handed to the tokenizer in batches that keep its threads busy and memory small.
_BATCH_CHARACTERS = 1 << 20
_BATCH_DOCUMENTS = 4096


def tokenize(source: DocumentSource, tokenizer: Tokenizer, cache_dir: str | os.PathLike[str] | None = None,
             validation_split: float = 0.1) -> TokenStore:
    """Returns the tokens of `source`, from the cache where they are there already.

    The cache's key is a hash of the source's content, the tokenizer and the format, so that a changed
    byte is tokenised anew. A folder of the cache is whole or absent; one that has lost bytes is made
    again with a warning. Memory is bounded by the longest document and one batch.

    Args:
        source: Where the documents come from.
        tokenizer: Turns their text into ids.
        cache_dir: Where to keep the result; None takes the environment variable `HIGHNOON_CACHE`, or
            `~/.cache/highnoon`.
        validation_split: Share of documents to hold out, by a hash of their text, in [0, 1).

    Raises:
        DataError: the source has no documents, cannot be read, or the split leaves none to train on.

    Example:

    ```python
    import pathlib, tempfile
    from highnoon.data import Files, tokenize
    from highnoon.tokenization import ByteTokenizer
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "a.txt").write_text("Hello")
        store = tokenize(Files(f"{folder}/a.txt"), ByteTokenizer(), folder, validation_split=0.0)
        assert store.text(0) == "Hello" and store.lengths.tolist() == [7]
    ```
    """
    split_threshold(validation_split)
    key = _cache_key(source, tokenizer)
    folder = default_cache_dir(cache_dir) / "tokens" / key
    is_damaged = False
    if folder.exists():
        try:
            return _checked(TokenStore(folder, tokenizer, source.name, validation_split))
        except DamagedStoreError as error:
            warnings.warn(f"making the cached tokens of {source.name} again: {error}", stacklevel=2)
            is_damaged = True
    with _written_whole(folder, replace=is_damaged) as beside:
        _write(source, tokenizer, key, beside)
    return _checked(TokenStore(folder, tokenizer, source.name, validation_split))


def default_cache_dir(cache_dir: str | os.PathLike[str] | None = None) -> pathlib.Path:
    """Returns `cache_dir`, or what `HIGHNOON_CACHE` names, or `~/.cache/highnoon`."""
    chosen = cache_dir or os.environ.get("HIGHNOON_CACHE") or "~/.cache/highnoon"
    return pathlib.Path(chosen).expanduser()


def _cache_key(source: DocumentSource, tokenizer: Tokenizer) -> str:
    parts = [STORE_VERSION, source.fingerprint(), tokenizer.fingerprint()]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def _checked(store: TokenStore) -> TokenStore:
    if store.is_validation.all():
        raise DataError(
            f"all {len(store)} documents of {store.name} fall into the {store.validation_split:.0%} that are "
            f"held out, and none is left to train on; add documents or set validation_split=0"
        )
    return store


@contextlib.contextmanager
def _written_whole(folder: pathlib.Path, replace: bool) -> Iterator[pathlib.Path]:
    """Gives a folder beside `folder` to fill, which becomes `folder` when all went well."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = pathlib.Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        content = beside / "new"
        content.mkdir()
        yield content
        if replace:
            # Another process may have the old files mapped: they are moved aside, never written into.
            folder.rename(beside / "old")
        try:
            content.rename(folder)
        except OSError:
            # Another process was first, and what it wrote is the same.
            if not folder.exists():
                raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _write(source: DocumentSource, tokenizer: Tokenizer, key: str, folder: pathlib.Path) -> None:
    token_type = "<u2" if tokenizer.vocab_size <= 1 << 16 else "<u4"
    domain_names: list[str] = []
    with contextlib.ExitStack() as stack:
        files = {name: stack.enter_context((folder / name).open("wb")) for name in [TOKENS_FILE, *COLUMNS]}
        count = 0
        for batch in _batches(source.documents()):
            _write_batch(batch, tokenizer, token_type, domain_names, files)
            count += len(batch)
        for stream in files.values():
            stream.flush()
            os.fsync(stream.fileno())
    if not count:
        raise DataError(f"{source.name} has no documents; give a source that holds text")
    manifest = {
        "version": STORE_VERSION, "key": key, "source": source.name, "documents": count,
        "tokenizer": repr(tokenizer), "token_type": token_type, "domain_names": domain_names,
        "sizes": {name: (folder / name).stat().st_size for name in files},
    }
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def _write_batch(batch: list[Document], tokenizer: Tokenizer, token_type: str, domain_names: list[str],
                 files: Mapping[str, IO[bytes]]) -> None:
    texts = [document.text for document in batch]
    rows = tokenizer.encode_documents(texts)
    for domain in dict.fromkeys(document.domain for document in batch):
        if domain not in domain_names:
            domain_names.append(domain)
    columns: dict[str, list[Any]] = {
        "lengths.bin": [len(row) for row in rows],
        "num_bytes.bin": [len(text.encode()) for text in texts],
        "split_hashes.bin": [split_hash(text) for text in texts],
        "domains.bin": [domain_names.index(document.domain) for document in batch],
    }
    for name, values in columns.items():
        files[name].write(np.array(values, COLUMNS[name]).tobytes())
    for row in rows:
        files[TOKENS_FILE].write(np.array(row, token_type).tobytes())


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    held: list[Document] = []
    characters = 0
    for document in documents:
        held.append(document)
        characters += len(document.text)
        if characters >= _BATCH_CHARACTERS or len(held) >= _BATCH_DOCUMENTS:
            yield held
            held, characters = [], 0
    if held:
        yield held
