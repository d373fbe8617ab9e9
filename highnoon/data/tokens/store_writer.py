"""Writes a token store so that a killed preparation can resume."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import IO, Any

import numpy as np

from highnoon.data.document import DataError
from highnoon.data.tokens.checked_array import DamagedStoreError
from highnoon.data.tokens.encoding import EncodedBatch, token_type
from highnoon.data.tokens.origins import ORIGINS_FILE, ORIGINS_TYPE, encode_origins
from highnoon.data.tokens.store_manifest import progress_problem
from highnoon.data.tokens.token_store import (
    COLUMNS,
    LABELS_FILE,
    LABELS_TYPE,
    MANIFEST_FILE,
    MAX_MANIFEST_BYTES,
    OPTIONAL_FILES,
    PROGRESS_FILE,
    STORE_VERSION,
    SUPERVISED_FILE,
    TOKENS_FILE,
)
from highnoon.files.block_hashes import BLOCK_BYTES, BlockHasher, changed_block, num_blocks
from highnoon.files.foreign import ForeignDataError, read_json
from highnoon.files.name_path import name_path
from highnoon.files.sealed_json import require_sealed, seal
from highnoon.files.shown import shown
from highnoon.files.sync_to_disk import sync_to_disk
from highnoon.tokenization import Tokenizer

# Text between two journal entries: a kill loses at most some seconds of work.
_COMMIT_BYTES = 64_000_000
_FILL_BYTES = 1 << 24
MAX_LABELS = 1 << 16
_MAKE_ROOM = (
    "free disk space, or choose another folder (with HIGHNOON_CACHE for the cache); the same call "
    "continues where this one stopped"
)


@dataclasses.dataclass
class Progress:
    """The progress of a store, as in `progress.json`.

    Args:
        key: The key of the store.
        documents: Documents written.
        tokens: Their tokens.
        text_bytes: UTF-8 bytes of their texts.
        domain_names: Their domains, in the order of their first documents.
        sizes: Bytes of each file that belong to them; more bytes are truncated.
        hashes: Hashes of the blocks of each file, see `BlockHasher`; None in a journal of an older version.
        label_names: Labels of labeled documents, in the order of their first documents.
        origin_names: Names of the files or datasets of the documents, see `highnoon.data.tokens.origins`.
    """

    key: str
    documents: int = 0
    tokens: int = 0
    text_bytes: int = 0
    domain_names: list[str] = dataclasses.field(default_factory=list)
    sizes: dict[str, int] = dataclasses.field(
        default_factory=lambda: dict.fromkeys([TOKENS_FILE, *COLUMNS], 0)
    )
    hashes: dict[str, str] | None = dataclasses.field(default_factory=dict)
    label_names: list[str] = dataclasses.field(default_factory=list)
    origin_names: list[str] = dataclasses.field(default_factory=list)


class StoreWriter:
    """Appends documents to the files of a store; a context manager.

    Every 64 MB of text, and when an exception ends the block, all files are synced and `progress.json`, the
    journal, is replaced. A later writer with the same folder and key truncates the files to the sizes in the
    journal and resumes. The documents in the journal can be read in the meantime.

    Args:
        folder: An existing folder.
        key: The key of the store.
        tokenizer: The tokenizer of the documents, which is saved with them.
        source: The name of the source.
        validation_split: The fraction that readers hold out by default.

    Raises:
        DamagedStoreError: If the journal has another key, or a file is shorter than in the journal.
    """

    def __init__(
        self, folder: pathlib.Path, key: str, tokenizer: Tokenizer, source: str, validation_split: float
    ) -> None:
        self.folder = folder
        self.progress = read_progress(folder, key) or Progress(key)
        self._tokenizer = tokenizer
        self._source, self._validation_split = source, validation_split
        for leftover in folder.glob(".tokenizer.json.*"):
            leftover.unlink(missing_ok=True)  # of a process that was killed while it saved the tokenizer
        with name_path(folder, advice=_MAKE_ROOM):
            self._saved_tokenizer = tokenizer.save(folder)
        self._tokenizer_fingerprint = tokenizer.fingerprint()
        self._tokenizer_hash = _hash_file(self._saved_tokenizer)
        self._committed_bytes = self.progress.text_bytes
        for name in OPTIONAL_FILES - set(self.progress.sizes):
            (folder / name).unlink(missing_ok=True)
        self._files: dict[str, IO[bytes]] = {}
        self._hashers: dict[str, BlockHasher] = {}
        for name, size in self.progress.sizes.items():
            self._open(name, size)
        self._marks = self._hash_marks()
        _write_sealed(folder / PROGRESS_FILE, self._manifest())

    def _open(self, name: str, size: int) -> None:
        path = self.folder / name
        if not size:
            # A process that still reads an earlier preparation keeps the old file.
            path.unlink(missing_ok=True)
        stream = path.open("r+b" if path.exists() else "w+b")
        stream.truncate(size)
        self._files[name] = stream
        if self.progress.hashes is not None:
            self._hashers[name] = BlockHasher.resume(self.progress.hashes.get(name, ""), stream, size)
        stream.seek(size)

    def append(
        self,
        encoded: EncodedBatch,
        domains: Sequence[str],
        labels: Sequence[str] | None = None,
        origins: Sequence[str] | None = None,
    ) -> None:
        """Appends a batch, each document with the name of its domain and, in all batches or none, its label.

        Args:
            encoded: The tokens.
            domains: The domain of each document.
            labels: The label of each document.
            origins: Where each document was read from; not recorded if an earlier version began the store.

        Raises:
            DataError: more labels than a store can hold.
        """
        if labels is not None:
            self._write_labels(labels)
        if origins is not None and (ORIGINS_FILE in self._files or not self.progress.documents):
            self._write_origins(origins)
        names = self.progress.domain_names
        names += [domain for domain in dict.fromkeys(domains) if domain not in names]
        numbers = {name: number for number, name in enumerate(names)}
        self._write_supervised(encoded)
        self._write("lengths.bin", encoded.lengths, COLUMNS["lengths.bin"])
        self._write("num_bytes.bin", encoded.num_bytes, COLUMNS["num_bytes.bin"])
        self._write("split_hashes.bin", encoded.split_hashes, COLUMNS["split_hashes.bin"])
        self._write("domains.bin", np.array([numbers[d] for d in domains]), COLUMNS["domains.bin"])
        self._write(TOKENS_FILE, encoded.tokens, token_type(self._tokenizer))
        progress = self.progress
        self.progress = dataclasses.replace(
            progress,
            documents=progress.documents + len(domains),
            tokens=progress.tokens + len(encoded.tokens),
            text_bytes=progress.text_bytes + int(encoded.num_bytes.sum()),
            sizes={name: stream.tell() for name, stream in self._files.items()},
        )
        self._marks = self._hash_marks()
        if self.progress.text_bytes - self._committed_bytes >= _COMMIT_BYTES:
            self.commit()

    def _hash_marks(self) -> dict[str, tuple[int, str]]:
        """Returns the state of the hashers after the last complete batch."""
        return {name: hasher.mark() for name, hasher in self._hashers.items()}

    def _write(self, name: str, values: np.ndarray[Any, Any], dtype: str) -> None:
        self._write_bytes(name, np.ascontiguousarray(values, dtype).data)

    def _write_bytes(self, name: str, data: bytes | memoryview) -> None:
        with name_path(self.folder / name, advice=_MAKE_ROOM):
            self._files[name].write(data)
        if name in self._hashers and len(data):
            self._hashers[name].update(data)

    def _write_supervised(self, encoded: EncodedBatch) -> None:
        if encoded.supervised is None and SUPERVISED_FILE not in self._files:
            return
        if SUPERVISED_FILE not in self._files:
            # All tokens so far are supervised; most stores never need this file.
            self._open(SUPERVISED_FILE, 0)
            for begin in range(0, self.progress.tokens, _FILL_BYTES):
                self._write_bytes(SUPERVISED_FILE, b"\1" * min(_FILL_BYTES, self.progress.tokens - begin))
        supervised = (
            np.ones(len(encoded.tokens), np.bool_) if encoded.supervised is None else encoded.supervised
        )
        self._write(SUPERVISED_FILE, supervised, "u1")

    def _write_labels(self, labels: Sequence[str]) -> None:
        if LABELS_FILE not in self._files:
            self._open(LABELS_FILE, 0)
        names = self.progress.label_names
        index = {name: number for number, name in enumerate(names)}
        for label in labels:
            if label not in index:
                index[label] = len(names)
                names.append(label)
        if len(names) > MAX_LABELS:
            raise DataError(
                f"{self._source} has more than {MAX_LABELS:,} labels, the last {shown(labels[-1])}; a label "
                "names a class of documents, not a document"
            )
        self._write(LABELS_FILE, np.array([index[label] for label in labels]), LABELS_TYPE)

    def _write_origins(self, origins: Sequence[str]) -> None:
        if ORIGINS_FILE not in self._files:
            self._open(ORIGINS_FILE, 0)
        self._write(ORIGINS_FILE, encode_origins(origins, self.progress.origin_names), ORIGINS_TYPE)

    def commit(self) -> None:
        """Makes the appended documents safe against a kill or a power failure."""
        self._sync()
        _write_sealed(self.folder / PROGRESS_FILE, self._manifest())
        self._committed_bytes = self.progress.text_bytes

    def finish(self, left_out: Mapping[str, Any] | None = None, *, has_split_hashes: bool = False) -> None:
        """Writes the manifest, which completes the store.

        Args:
            left_out: The report of bad records, if there were any.
            has_split_hashes: Whether the source gave the numbers that determine the sides of the split.
        """
        self._sync()
        about = {"left_out": left_out} if left_out else {}
        own = {"has_split_hashes": True} if has_split_hashes else {}
        _write_sealed(self.folder / MANIFEST_FILE, self._manifest() | about | own)
        (self.folder / PROGRESS_FILE).unlink()

    def _manifest(self) -> dict[str, Any]:
        saved = self._saved_tokenizer
        is_hashed = self.progress.hashes is not None
        hashes = {name: self._hashers[name].text_at(mark) for name, mark in self._marks.items()}
        hashes[saved.name] = self._tokenizer_hash
        return {
            "version": STORE_VERSION,
            "key": self.progress.key,
            "source": self._source,
            "documents": self.progress.documents,
            "tokens": self.progress.tokens,
            "text_bytes": self.progress.text_bytes,
            "tokenizer": repr(self._tokenizer),
            "tokenizer_file": saved.name,
            "tokenizer_fingerprint": self._tokenizer_fingerprint,
            "token_type": token_type(self._tokenizer),
            "domain_names": self.progress.domain_names,
            "validation_split": self._validation_split,
            "sizes": self.progress.sizes | {saved.name: saved.stat().st_size},
            **({"label_names": self.progress.label_names} if self.progress.label_names else {}),
            **({"origin_names": self.progress.origin_names} if ORIGINS_FILE in self._files else {}),
            **({"hashes": hashes} if is_hashed else {}),
        }

    def _sync(self) -> None:
        for name, stream in self._files.items():
            with name_path(self.folder / name, advice=_MAKE_ROOM):
                stream.flush()
                os.fsync(stream.fileno())

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if isinstance(error, (Exception, KeyboardInterrupt)) and self.progress.documents:
                self.commit()
        finally:
            for name, stream in self._files.items():
                with name_path(self.folder / name, advice=_MAKE_ROOM):
                    stream.close()


def read_progress(folder: pathlib.Path, key: str) -> Progress | None:
    """Returns the progress of the store with a key in `folder`, or None if there is none.

    Raises:
        DamagedStoreError: If the journal has another key or is not a journal, or the files do not match it.
    """
    file = folder / PROGRESS_FILE
    if not file.is_file():
        return None
    try:
        values = read_json(file, max_bytes=MAX_MANIFEST_BYTES)
        require_sealed(values, str(file))
        problem = progress_problem(values, {TOKENS_FILE, *COLUMNS}, OPTIONAL_FILES)
    except (OSError, ForeignDataError) as error:
        problem = str(error)
    if problem:
        raise DamagedStoreError(f"{file} cannot be read ({problem}); remove {folder} and prepare again")
    names = {field.name for field in dataclasses.fields(Progress)} - {"hashes", "label_names", "origin_names"}
    progress = Progress(
        **{name: values[name] for name in names},
        hashes=values.get("hashes"),
        label_names=values.get("label_names", []),
        origin_names=values.get("origin_names", []),
    )
    progress.sizes = {name: size for name, size in progress.sizes.items() if name.endswith(".bin")}
    if not progress.documents:
        return None
    if progress.key != key:
        raise DamagedStoreError(
            f"{folder} has an unfinished preparation of another source or tokenizer; remove it, or choose "
            f"another folder"
        )
    for name, size in progress.sizes.items():
        _require_unchanged(folder / name, size, progress.hashes[name] if progress.hashes else None)
    return progress


def _require_unchanged(path: pathlib.Path, size: int, hashes: str | None) -> None:
    """Raises DamagedStoreError if the first `size` bytes of a file have changed since they were written."""
    remedy = f"remove {path.parent} and prepare again"
    if size and (not path.is_file() or path.stat().st_size < size):
        raise DamagedStoreError(
            f"{path} should have at least {size} bytes of an unfinished preparation; {remedy}"
        )
    if size and hashes is not None:
        with path.open("rb") as stream:
            for block in range(num_blocks(size)):
                data = stream.read(min(BLOCK_BYTES, size - block * BLOCK_BYTES))
                if changed_block(data, hashes, block) is not None:
                    raise DamagedStoreError(
                        f"{path} of an unfinished preparation is damaged: some of its bytes from "
                        f"{block * BLOCK_BYTES} have changed since they were written; {remedy}"
                    )


def _hash_file(path: pathlib.Path) -> str:
    hasher = BlockHasher()
    hasher.update(path.read_bytes())
    return hasher.text


def _write_sealed(path: pathlib.Path, values: dict[str, Any]) -> None:
    """Writes a manifest with a hash of its own content to disk, and replaces the old one."""
    temporary = path.with_name(f".{path.name}")
    with name_path(path, advice=_MAKE_ROOM):
        with temporary.open("w", encoding="utf-8") as stream:
            json.dump(seal(values), stream, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        sync_to_disk(path.parent)
