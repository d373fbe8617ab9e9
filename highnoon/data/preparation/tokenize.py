"""Tokenising a source once, into a cache keyed by all that decides the result."""

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
from highnoon.data.document import DataError, DocumentSource
from highnoon.data.preparation.encoding_pool import WorkerDiedError
from highnoon.data.preparation.fill_store import fill_store
from highnoon.data.sources.prepared_tokens import PreparedTokens
from highnoon.data.tokens.splitting import split_threshold
from highnoon.data.tokens.store_writer import read_progress
from highnoon.data.tokens.token_store import PROGRESS_FILE, STORE_VERSION, DamagedStoreError, TokenStore
from highnoon.files.expand_home import expand_home
from highnoon.files.folder_lock import FolderLockedError, lock_file_of, path_lock
from highnoon.files.name_path import FULL_DISK, name_path
from highnoon.files.whole_folder import recover_folder, replace_folder
from highnoon.tokenization import Tokenizer

MAX_WORKERS = 1024

# Files of the cache up to this size are checked when they are opened, in a third of a second; larger ones a
# block at a time when they are read.
_CHECKED_BYTES = 1 << 28


def tokenize(
    source: DocumentSource,
    tokenizer: Tokenizer,
    cache_dir: str | os.PathLike[str] | None = None,
    validation_split: float = 0.1,
    num_workers: int | None = None,
) -> TokenStore:
    """Returns the tokens of `source`, from the cache where they are there already.

    The cache's key is a hash of the source's content, the tokenizer and the format, so that a changed
    byte is tokenised anew. A folder of the cache is whole or absent; one that is damaged is made
    again with a warning. Memory is bounded by the longest document and a few batches. A call that was
    killed is taken up where it was by the next.

    Args:
        source: Where the documents come from. The tokens of `PreparedTokens` are taken as they are if they
            were made by an equal tokenizer.
        tokenizer: Turns their text into ids.
        cache_dir: Where to keep the result; None takes the environment variable `HIGHNOON_CACHE`, or
            `~/.cache/highnoon`.
        validation_split: Share of documents to hold out, by a hash of their text, in [0, 1).
        num_workers: Processes that tokenise. 1 starts none; None starts one a core for large sources.

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
    require_workers(num_workers)
    if isinstance(source, PreparedTokens):
        if source.tokenizer.fingerprint() == tokenizer.fingerprint():
            return require_training(
                TokenStore(source.folder, tokenizer, source.name, validation_split, source.num_documents)
            )
        warnings.warn(
            f"{source.name} was prepared with {source.tokenizer}, and its text is tokenised again "
            f"with {tokenizer}; prepare it with the tokenizer of the model",
            stacklevel=2,
        )
    key = store_key(source, tokenizer)
    folder = default_cache_dir(cache_dir) / "tokens" / key
    recover_folder(folder)
    if folder.exists():
        try:
            return require_training(_open_cached(folder, key, tokenizer, source.name, validation_split))
        except DamagedStoreError as error:
            warnings.warn(f"making the cached tokens of {source.name} again: {error}", stacklevel=2)
    advice = "free disk space there, or set HIGHNOON_CACHE to a folder with more room"
    with name_path(folder, FULL_DISK, advice), _written_whole(folder) as beside:
        _require_resumable(beside, key)
        fill_store(source, tokenizer, key, beside, validation_split, num_workers)
    return require_training(TokenStore(folder, tokenizer, source.name, validation_split))


def _open_cached(
    folder: pathlib.Path, key: str, tokenizer: Tokenizer, name: str, validation_split: float
) -> TokenStore:
    """Opens a folder of the cache. A small one is checked whole, so that damage can be mended here."""
    store = TokenStore(folder, tokenizer, name, validation_split)
    if store.manifest["key"] != key:
        raise DamagedStoreError(f"{folder} holds the tokens of another key, {store.manifest['key']}")
    if sum(store.manifest["sizes"].values()) <= _CHECKED_BYTES:
        store.check()
    return store


def _require_resumable(beside: pathlib.Path, key: str) -> None:
    """Removes what a killed call left, with a warning, where it is damaged."""
    try:
        read_progress(beside, key)
    except DamagedStoreError as error:
        warnings.warn(f"starting again with tokens that are damaged: {error}", stacklevel=3)
        (beside / PROGRESS_FILE).unlink()


def default_cache_dir(cache_dir: str | os.PathLike[str] | None = None) -> pathlib.Path:
    """Returns `cache_dir`, or what `HIGHNOON_CACHE` names, or `~/.cache/highnoon`."""
    if cache_dir is not None:
        return expand_home(require_path("cache_dir", cache_dir))
    return expand_home(os.environ.get("HIGHNOON_CACHE") or "~/.cache/highnoon")


def store_key(source: DocumentSource, tokenizer: Tokenizer) -> str:
    """Returns the hash of all that decides a store: format, text and tokenizer."""
    parts = [STORE_VERSION, source.fingerprint(), tokenizer.fingerprint()]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def require_workers(num_workers: int | None) -> None:
    """Raises:
    DataError: `num_workers` is neither None nor 1 to 1,024.
    """
    if num_workers is not None:
        require_count("num_workers", num_workers, most=MAX_WORKERS, error=DataError)


def require_training(store: TokenStore) -> TokenStore:
    """Returns `store`, after checking that its split leaves documents to train on."""
    if store.is_validation.all():
        raise DataError(
            f"all {len(store)} documents of {store.name} fall into the {store.validation_split:.0%} that are "
            f"held out, and none is left to train on; add documents or set validation_split=0"
        )
    return store


@contextlib.contextmanager
def _written_whole(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives a folder beside `folder` to fill, which becomes `folder` when all went well.

    Its name is the same each time, so that the next call finds what a killed one left there.
    """
    beside = folder.with_name(f".{folder.name}")
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(path_lock(folder))
        except FolderLockedError:
            # Another process makes the same tokens at this moment: this one works by itself.
            beside = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
            stack.enter_context(path_lock(beside))
            stack.callback(shutil.rmtree, beside, ignore_errors=True)
        else:
            _clear_private_folders(folder)
        beside.mkdir(exist_ok=True)
        try:
            yield beside
        except DataError as error:
            if not isinstance(error, WorkerDiedError):
                # The source is at fault, and once mended it has another key.
                shutil.rmtree(beside, ignore_errors=True)
            raise
        # Another process may have the old files mapped: they are moved aside, never written into.
        replace_folder(beside, folder)


def _clear_private_folders(folder: pathlib.Path) -> None:
    """Removes what calls left that worked by themselves and were killed."""
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
