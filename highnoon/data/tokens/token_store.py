"""Tokenized documents on disk, read through the page cache."""

from __future__ import annotations

import functools
import hashlib
import os
import pathlib
from typing import Any

import numpy as np
import numpy.typing as npt

from highnoon.data.document import DataError
from highnoon.data.tokens.checked_array import CheckedArray, DamagedStoreError
from highnoon.data.tokens.origins import ORIGINS_FILE, ORIGINS_TYPE, decode_origin
from highnoon.data.tokens.splitting import split_threshold
from highnoon.data.tokens.store_manifest import manifest_problem
from highnoon.files.block_hashes import BLOCK_BYTES, changed_block
from highnoon.files.expand_home import expand_home
from highnoon.files.foreign import ForeignDataError, read_json
from highnoon.files.sealed_json import require_sealed
from highnoon.tokenization import Tokenizer, TokenizerError, load_tokenizer

STORE_VERSION = 2
MAX_MANIFEST_BYTES = 1 << 30
MANIFEST_FILE = "manifest.json"

# The journal of a store that is being written: the manifest so far.
PROGRESS_FILE = "progress.json"
TOKENS_FILE = "tokens.bin"

# One byte per token, 1 if it is supervised; absent if all are.
SUPERVISED_FILE = "learned.bin"

# One number per document, the index of its label in `label_names`; only in stores of labeled documents.
LABELS_FILE = "labels.bin"
LABELS_TYPE = "<i4"
OPTIONAL_FILES = frozenset({SUPERVISED_FILE, LABELS_FILE, ORIGINS_FILE})

# Files with one value per document.
COLUMNS: dict[str, str] = {
    "lengths.bin": "<i8",
    "num_bytes.bin": "<i8",
    "split_hashes.bin": "<u8",
    "domains.bin": "<u2",
}


class TokenStore:
    """The tokens of a source's documents, memory-mapped; made by `tokenize` and `prepare`.

    `lengths` (tokens, framing included), `num_bytes` (UTF-8 bytes of the text) and `is_validation`
    are arrays of shape (documents,); `tokens(i)`, `supervised(i)` and `text(i)` give one document. In a store
    of labeled documents `labels` is one, too: indices in `label_names`; else it is None.

    Manifest and columns are compared with their hashes when the store is opened, tokens a block of 1 MiB at a
    time when they are first read. Stores of older versions have no hashes: for these, only sizes and the
    range of values are checked.

    Args:
        folder: A folder that `tokenize` wrote.
        tokenizer: The tokenizer that it was written with.
        name: The name of the store in reports.
        validation_split: Fraction of documents to hold out by `split_hash`, in [0, 1).
        documents: How many documents to read, starting with the first; None reads all of a finished store.
            With a number, the finished documents of an unfinished preparation can be read while it continues,
            and do not change when it ends.

    Raises:
        DamagedStoreError: If there is no manifest, or a file has another size or content than in the
            manifest; for tokens, when they are read.
        DataError: If `validation_split` is out of range, or there are fewer documents.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        tokenizer: Tokenizer,
        name: str = "",
        validation_split: float = 0.1,
        documents: int | None = None,
    ) -> None:
        self.folder = expand_home(folder)
        self.tokenizer = tokenizer
        self.name = name or self.folder.name
        self.validation_split = validation_split
        self.manifest = read_manifest(self.folder, documents)
        self.fingerprint = store_fingerprint(self.manifest["key"], documents)
        self._num_documents: int = self.manifest["documents"] if documents is None else documents
        self.lengths = self._column("lengths.bin")
        self.num_bytes = self._column("num_bytes.bin")
        self.domains = self._column("domains.bin")
        _check_columns(self)
        # In the order of their first documents.
        self.domain_names: list[str] = self.manifest["domain_names"][: int(self.domains.max()) + 1]
        self.labels: npt.NDArray[np.int32] | None = None
        self.label_names: list[str] = self.manifest.get("label_names", [])
        if LABELS_FILE in self.manifest["sizes"]:
            self.labels = read_column(
                self.folder / LABELS_FILE, self.manifest, LABELS_TYPE, self._num_documents
            )
            _check_labels(self.folder, self.labels, self.label_names)
        self.split_hashes = self._column("split_hashes.bin")
        self.is_validation: npt.NDArray[np.bool_] = self.split_hashes < np.uint64(
            split_threshold(validation_split)
        )
        self.offsets: npt.NDArray[np.int64] = np.concatenate(([0], np.cumsum(self.lengths)))
        _check_totals(self)

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        name: str = "",
        validation_split: float | None = None,
        documents: int | None = None,
    ) -> TokenStore:
        """Returns the tokens that `prepare` wrote to `folder`, with the tokenizer that was saved there.

        Args:
            folder: A folder that `prepare` wrote.
            name: The name of the store in reports; by default the name of its source.
            validation_split: Fraction of documents to hold out; None uses the value passed to `prepare`.
            documents: How many documents to read, see the class.

        Raises:
            DamagedStoreError: If the folder is damaged or incomplete.
            DataError: If there are fewer documents.
        """
        path = expand_home(folder)
        manifest = read_manifest(path, documents)
        split = manifest["validation_split"] if validation_split is None else validation_split
        return cls(path, saved_tokenizer(path, manifest), name or manifest["source"], split, documents)

    def _column(self, name: str) -> npt.NDArray[Any]:
        return read_column(self.folder / name, self.manifest, COLUMNS[name], self._num_documents)

    @functools.cached_property
    def all_tokens(self) -> CheckedArray:
        """The concatenated tokens of all documents, memory-mapped."""
        return self._map(TOKENS_FILE, self.manifest["token_type"], self.tokenizer.vocab_size)

    @functools.cached_property
    def all_supervised(self) -> CheckedArray | None:
        """Whether each of `all_tokens` is supervised, memory-mapped; None if all are."""
        if SUPERVISED_FILE not in self.manifest["sizes"]:
            return None
        return self._map(SUPERVISED_FILE, np.bool_, 2)

    def _map(self, name: str, dtype: npt.DTypeLike, bound: int) -> CheckedArray:
        # Only the stored length: later bytes may be part of a token that is being written.
        hashes = self.manifest.get("hashes", {}).get(name)
        return CheckedArray(
            self.folder / name,
            dtype,
            int(self.offsets[-1]),
            self.manifest["sizes"][name],
            hashes,
            bound,
            _remedy(self.folder),
        )

    @property
    def all_learned(self) -> CheckedArray | None:
        """The former name of `all_supervised`."""
        return self.all_supervised

    def check(self) -> None:
        """Compares all tokens with their hashes now instead of when they are first read.

        Raises:
            DamagedStoreError: If some have changed.
        """
        for values in (self.all_tokens, self.all_supervised):
            if values is not None:
                values.check_all()

    def __len__(self) -> int:
        return len(self.lengths)

    def tokens(self, document: int) -> npt.NDArray[np.int32]:
        """Returns the ids of a document, including framing."""
        self._require(document)
        return self.all_tokens[self.offsets[document] : self.offsets[document + 1]].astype(np.int32)

    def supervised(self, document: int) -> npt.NDArray[np.bool_]:
        """Returns for each id of a document whether it is supervised."""
        self._require(document)
        if self.all_supervised is None:
            return np.ones(int(self.lengths[document]), np.bool_)
        return np.array(self.all_supervised[self.offsets[document] : self.offsets[document + 1]])

    def learned(self, document: int) -> npt.NDArray[np.bool_]:
        """The former name of `supervised`."""
        return self.supervised(document)

    def text(self, document: int) -> str:
        """Returns the text of a document, exactly if the tokenizer is lossless."""
        return self.tokenizer.decode_document(self.tokens(document).tolist())

    def domain(self, document: int) -> str:
        """Returns the name of a document's domain."""
        self._require(document)
        return self.domain_names[self.domains[document]]

    def label(self, document: int) -> str | None:
        """Returns the label of a document, None in a store without labels."""
        self._require(document)
        return None if self.labels is None else self.label_names[self.labels[document]]

    def origin(self, document: int) -> str | None:
        """Returns where a document was read from, such as `a.jsonl:3`; None if it is not recorded."""
        self._require(document)
        if self._origins is None:
            return None
        return decode_origin(
            self._origins[min(document, len(self._origins) - 1)], self.manifest["origin_names"]
        )

    @functools.cached_property
    def _origins(self) -> npt.NDArray[np.int64] | None:
        if ORIGINS_FILE not in self.manifest["sizes"]:
            return None
        length = 2 * min(self._num_documents, self.manifest["documents"])
        return read_column(self.folder / ORIGINS_FILE, self.manifest, ORIGINS_TYPE, length).reshape(-1, 2)

    def _require(self, document: int) -> None:
        if not 0 <= document < len(self):
            raise IndexError(f"{self.name} has documents 0 to {len(self) - 1}; received {document}")

    def __repr__(self) -> str:
        return f"TokenStore({self.name!r}, documents={len(self)}, tokens={self.offsets[-1]})"


def read_manifest(folder: pathlib.Path, documents: int | None = None) -> dict[str, Any]:
    """Returns the manifest of a folder of tokens, after checking the sizes of its files.

    Args:
        folder: The folder.
        documents: How many documents to read; with a number, the journal of an unfinished folder is enough.

    Raises:
        DamagedStoreError: If a size is wrong, or there is no manifest.
        DataError: If there are fewer documents, or the folder is unfinished and `documents` is None.
    """
    is_finished = (folder / MANIFEST_FILE).is_file()
    file = folder / (MANIFEST_FILE if is_finished or not is_unfinished(folder) else PROGRESS_FILE)
    manifest = _read_values(folder, file)
    sizes, ready, source = manifest["sizes"], manifest["documents"], manifest["source"]
    for name, size in sizes.items():
        actual = (folder / name).stat().st_size if (folder / name).is_file() else 0
        if actual != size and (is_finished or actual < size):
            raise DamagedStoreError(
                f"{folder / name} should have {size} bytes and has {actual}; {_remedy(folder)}"
            )
    if is_finished and not ready:
        raise DamagedStoreError(f"{folder} has no document; {_remedy(folder)}")
    if documents is None and not is_finished:
        use_these = (
            (
                f"; or use these, with documents={ready} in the dataset's options or `highnoon train "
                f"--documents {ready}`"
            )
            if ready
            else ""
        )
        raise DataError(
            f"{folder} is still being prepared, or was stopped: {ready:,} documents of {source} are ready. "
            f"Wait, or run `highnoon data prepare` again to finish it{use_these}"
        )
    if documents is not None and not 1 <= documents <= ready:
        raise DataError(
            f"`documents` must be from 1 to {ready}, the documents of {folder} that are ready; received "
            f"{documents}"
        )
    return manifest


def _read_values(folder: pathlib.Path, file: pathlib.Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = read_json(file, max_bytes=MAX_MANIFEST_BYTES)
        require_sealed(values, str(file))
    except (OSError, ForeignDataError) as error:
        problem: str | None = str(error)
    else:
        found = manifest_problem(values, {TOKENS_FILE, *COLUMNS}, OPTIONAL_FILES)
        problem = found and f"{file}: {found}"
    if problem:
        # A folder without tokens may be the user's own: do not advise to remove it.
        is_ours = (folder / TOKENS_FILE).is_file()
        remedy = _remedy(folder) if is_ours else "use a folder that `highnoon data prepare` wrote"
        raise DamagedStoreError(f"{folder} has no complete set of tokens ({problem}); {remedy}")
    return values


def read_column(path: pathlib.Path, manifest: dict[str, Any], dtype: str, length: int) -> npt.NDArray[Any]:
    """Returns the first values of a column, after comparing them with their hashes.

    Raises:
        DamagedStoreError: If they have changed or cannot be read.
    """
    needed = length * np.dtype(dtype).itemsize
    # Hashes are of complete blocks, up to the size in the manifest.
    described = min(manifest["sizes"][path.name], -(-needed // BLOCK_BYTES) * BLOCK_BYTES)
    with path.open("rb") as stream:
        data = bytearray(stream.read(described))
    hashes = manifest.get("hashes", {}).get(path.name)
    if hashes is not None and (block := changed_block(data, hashes)) is not None:
        raise DamagedStoreError(
            f"{path} is damaged: some of its bytes from {block * BLOCK_BYTES} have changed since they were "
            f"written; {_remedy(path.parent)}"
        )
    if len(data) < needed:
        raise DamagedStoreError(
            f"{path} should have {needed} bytes and has {len(data)}; {_remedy(path.parent)}"
        )
    return np.frombuffer(data, dtype, length)


def _remedy(folder: pathlib.Path) -> str:
    return (
        f"remove {folder} and create it again: with `highnoon data prepare`, or, if it is in the cache, "
        f"with the same run"
    )


def is_unfinished(folder: pathlib.Path) -> bool:
    """Returns whether `folder` has an unfinished preparation."""
    is_begun = (folder / PROGRESS_FILE).is_file() and (folder / TOKENS_FILE).is_file()
    return is_begun and not (folder / MANIFEST_FILE).is_file()


def store_fingerprint(key: str, documents: int | None) -> str:
    """Returns the fingerprint of a store, or of its first documents."""
    if documents is None:
        return key
    return hashlib.blake2b(f"{key}, first {documents}".encode(), digest_size=16).hexdigest()


def saved_tokenizer(folder: pathlib.Path, manifest: dict[str, Any]) -> Tokenizer:
    """Returns the tokenizer that was saved with the tokens of `folder`.

    Raises:
        DamagedStoreError: If there is none, or it is not the one in the manifest.
    """
    try:
        tokenizer = load_tokenizer(folder / manifest["tokenizer_file"])
    except (KeyError, OSError, TokenizerError) as error:
        raise DamagedStoreError(
            f"{folder} has no tokenizer that can be loaded ({error}); open it with "
            f"TokenStore(folder, tokenizer)"
        ) from None
    if tokenizer.fingerprint() != manifest["tokenizer_fingerprint"]:
        raise DamagedStoreError(
            f"{folder / manifest['tokenizer_file']} is not the tokenizer of these tokens; prepare them again"
        )
    return tokenizer


def _check_columns(store: TokenStore) -> None:
    """Checks what a store without hashes would not detect otherwise."""
    names = store.manifest["domain_names"]
    if store.lengths.min() < 0 or store.num_bytes.min() < 0 or store.domains.max() >= len(names):
        raise DamagedStoreError(
            f"{store.folder} is damaged: a document has a negative length, or a domain index of "
            f"{len(names)} or more; {_remedy(store.folder)}"
        )


def _check_labels(folder: pathlib.Path, labels: npt.NDArray[np.int32], names: list[str]) -> None:
    if labels.min() < 0 or labels.max() >= len(names):
        raise DamagedStoreError(
            f"{folder} is damaged: a document has a label beyond the {len(names)} that there are; "
            f"{_remedy(folder)}"
        )


def _check_totals(store: TokenStore) -> None:
    """Checks that the lengths add up to the number of tokens, and opens the token file."""
    held = store.manifest["sizes"][TOKENS_FILE] // np.dtype(store.manifest["token_type"]).itemsize
    is_all = len(store) == store.manifest["documents"]
    if held < store.offsets[-1] or is_all and held > store.offsets[-1]:
        raise DamagedStoreError(
            f"{store.folder} should have {store.offsets[-1]} tokens and has {held}; {_remedy(store.folder)}"
        )
    assert len(store.all_tokens) == store.offsets[-1]
