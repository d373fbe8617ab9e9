"""Tokenizes a source once, into a cache keyed by everything that determines the result."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import uuid
import warnings
from collections.abc import Iterator

from highnoon.config import require_count, require_path
from highnoon.config.known_arguments import known_arguments
from highnoon.data.document import DataError, DocumentSource
from highnoon.data.preparation.encoding_pool import WorkerDiedError
from highnoon.data.preparation.fill_store import fill_store
from highnoon.data.sources.prepared_tokens import PreparedTokens
from highnoon.data.tokens.split_by_length import is_one_text
from highnoon.data.tokens.splitting import split_threshold
from highnoon.data.tokens.store_writer import read_progress
from highnoon.data.tokens.token_store import PROGRESS_FILE, STORE_VERSION, DamagedStoreError, TokenStore
from highnoon.files.expand_home import expand_home
from highnoon.files.folder_lock import FolderLockedError, lock_file_of, path_lock
from highnoon.files.name_path import FULL_DISK, name_path
from highnoon.files.whole_folder import recover_folder, replace_folder
from highnoon.tokenization import Tokenizer

MAX_WORKERS = 1024

# Stores in the cache up to this size are checked when they are opened, in a third of a second; larger ones
# block by block when they are read.
_CHECKED_BYTES = 1 << 28


@known_arguments
def tokenize(
    source: DocumentSource,
    tokenizer: Tokenizer,
    cache_dir: str | os.PathLike[str] | None = None,
    validation_split: float = 0.1,
    num_workers: int | None = None,
) -> TokenStore:
    """Returns the tokens of `source`, from the cache if they are there already.

    The cache key is a hash of the source's content, the tokenizer and the format, so a changed byte causes a
    new tokenization. A folder of the cache is complete or absent; a damaged one is written again with a
    warning. Memory is bounded by the longest document and a few batches. A call resumes an earlier one that
    was killed.

    Args:
        source: The source of the documents. The tokens of `PreparedTokens` are used as they are if their
            tokenizer is equal.
        tokenizer: The tokenizer.
        cache_dir: The cache folder; None uses the environment variable `HIGHNOON_CACHE`, or
            `~/.cache/highnoon`.
        validation_split: Fraction of documents to hold out, by a hash of their text, in [0, 1).
        num_workers: Processes that tokenize. 1 starts none; None starts one per core for large sources.

    Raises:
        DataError: If the source has no documents or cannot be read, or the split leaves no training
            documents.

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
    require_workers(num_workers)
    if isinstance(source, PreparedTokens):
        if source.tokenizer.fingerprint() == tokenizer.fingerprint():
            return require_training(
                TokenStore(source.folder, tokenizer, source.name, validation_split, source.num_documents)
            )
        warnings.warn(
            f"{source.name} was prepared with {source.tokenizer}, and its text is tokenized again with "
            f"{tokenizer}; prepare it with the tokenizer of the model",
            stacklevel=2,
        )
    key = store_key(source, tokenizer)
    folder = default_cache_dir(cache_dir) / "tokens" / key
    recover_folder(folder)
    if folder.exists():
        try:
            return require_training(_open_cached(folder, key, tokenizer, source.name, validation_split))
        except DamagedStoreError as error:
            warnings.warn(f"writing the cached tokens of {source.name} again: {error}", stacklevel=2)
    advice = "free disk space there, or set HIGHNOON_CACHE to a folder with more room"
    with name_path(folder, FULL_DISK, advice), _written_whole(folder) as unfinished:
        _require_resumable(unfinished, key)
        fill_store(source, tokenizer, key, unfinished, validation_split, num_workers)
    return require_training(TokenStore(folder, tokenizer, source.name, validation_split))


def _open_cached(
    folder: pathlib.Path, key: str, tokenizer: Tokenizer, name: str, validation_split: float
) -> TokenStore:
    """Opens a folder of the cache; a small one is checked completely, so that damage can be repaired here."""
    store = TokenStore(folder, tokenizer, name, validation_split)
    if store.manifest["key"] != key:
        raise DamagedStoreError(f"{folder} has the tokens of another key, {store.manifest['key']}")
    if sum(store.manifest["sizes"].values()) <= _CHECKED_BYTES:
        store.check()
    return store


def _require_resumable(unfinished: pathlib.Path, key: str) -> None:
    """Removes the work of a killed call, with a warning, if it is damaged."""
    try:
        read_progress(unfinished, key)
    except DamagedStoreError as error:
        warnings.warn(f"the tokens of an earlier call are damaged; starting again: {error}", stacklevel=3)
        (unfinished / PROGRESS_FILE).unlink()


def default_cache_dir(cache_dir: str | os.PathLike[str] | None = None) -> pathlib.Path:
    """Returns `cache_dir`, or the folder that `HIGHNOON_CACHE` names, or `~/.cache/highnoon`."""
    if cache_dir is not None:
        return expand_home(require_path("cache_dir", cache_dir))
    return expand_home(os.environ.get("HIGHNOON_CACHE") or "~/.cache/highnoon")


def store_key(source: DocumentSource, tokenizer: Tokenizer) -> str:
    """Returns the hash of everything that determines a store: format, text and tokenizer."""
    parts = [STORE_VERSION, source.fingerprint(), tokenizer.fingerprint()]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def require_workers(num_workers: int | None) -> None:
    """Checks the number of processes.

    Raises:
        DataError: If `num_workers` is neither None nor 1 to 1,024.
    """
    if num_workers is not None:
        require_count("num_workers", num_workers, most=MAX_WORKERS, error=DataError)


def require_training(store: TokenStore) -> TokenStore:
    """Returns `store`, after checking that its split leaves training documents.

    The only document of a store is cut by its length where rows are made of it, see `split_by_length`.

    Raises:
        DataError: If all documents are held out.
    """
    if store.is_validation.all() and not is_one_text(store):
        raise DataError(
            f"all {len(store)} documents of {store.name} are in the {store.validation_split:.0%} that are "
            f"held out, and none is left to train on; add documents or set validation_split=0"
        )
    return store


@contextlib.contextmanager
def _written_whole(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a folder next to `folder` to fill, which replaces `folder` if nothing was raised.

    Its name is the same each time, so that the next call finds the work of a killed one.
    """
    unfinished = folder.with_name(f".{folder.name}")
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(path_lock(folder))
        except FolderLockedError:
            # Another process is writing the same tokens: this one writes a private folder.
            unfinished = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
            stack.enter_context(path_lock(unfinished))
            stack.callback(shutil.rmtree, unfinished, ignore_errors=True)
        else:
            _clear_private_folders(folder)
        unfinished.mkdir(exist_ok=True)
        try:
            yield unfinished
        except DataError as error:
            if not isinstance(error, WorkerDiedError):
                # It is an error of the source, which has another key once it is fixed.
                shutil.rmtree(unfinished, ignore_errors=True)
            raise
        # Another process may have mapped the old files: they are moved, never overwritten.
        replace_folder(unfinished, folder)


def _clear_private_folders(folder: pathlib.Path) -> None:
    """Removes the private folders of calls that were killed."""
    for private in folder.parent.glob(f".{folder.name}-*"):
        if private.name.endswith("highnoon-lock") or not private.is_dir():
            continue
        with contextlib.suppress(FolderLockedError), path_lock(private):
            shutil.rmtree(private)
    for lock_file in folder.parent.glob(f"..{folder.name}-*.highnoon-lock"):
        private = folder.with_name(lock_file.name[1:].removesuffix(".highnoon-lock"))
        assert lock_file_of(private) == lock_file
        with contextlib.suppress(FolderLockedError), path_lock(private):
            pass
