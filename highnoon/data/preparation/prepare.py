"""Tokenizes a source into a folder that the user names, in several processes."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterator

from highnoon.config.known_arguments import known_arguments
from highnoon.data.document import DataError, DocumentSource
from highnoon.data.preparation.encoding_pool import WorkerDiedError
from highnoon.data.preparation.fill_store import fill_store
from highnoon.data.preparation.preparation_progress import expected_bytes, preparation_progress
from highnoon.data.preparation.tokenize import require_training, require_workers, store_key
from highnoon.data.tokens.splitting import split_threshold
from highnoon.data.tokens.store_writer import read_progress
from highnoon.data.tokens.token_store import (
    COLUMNS,
    MANIFEST_FILE,
    OPTIONAL_FILES,
    PROGRESS_FILE,
    TOKENS_FILE,
    DamagedStoreError,
    TokenStore,
    read_manifest,
)
from highnoon.files.expand_home import expand_home
from highnoon.files.folder_lock import LOCK_FILE, FolderLockedError, folder_lock
from highnoon.tokenization import Tokenizer
from highnoon.tokenization.chat.chat_template_file import CHAT_TEMPLATE_FILE

# Marks a folder in which an error of the source ended the preparation.
_FAULT_FILE = "fault.txt"


@known_arguments
def prepare(
    source: DocumentSource,
    tokenizer: Tokenizer,
    folder: str | os.PathLike[str],
    num_workers: int | None = None,
    validation_split: float = 0.1,
    show_progress: bool = False,
) -> TokenStore:
    """Writes the tokens of `source` into `folder` and returns them.

    The files are the same for any number of workers. A call with the same arguments resumes one that was
    stopped or killed, and returns at once if it was finished. After an error in the source, the fixed source,
    or other reading options, start again in the same folder. The tokenizer is saved with the tokens:
    `TokenStore.open(folder)` needs nothing else, and `PreparedTokens(folder)` is a dataset.

    Args:
        source: The source of the documents.
        tokenizer: The tokenizer.
        folder: A new or empty folder, or one that an earlier call left.
        num_workers: Processes that tokenize. 1 starts none; None starts one per core for large sources.
        validation_split: Fraction of documents to hold out, by a hash of their text, in [0, 1).
        show_progress: Whether to show megabytes, speed and remaining time on standard error.

    Raises:
        DataError: If the source has no documents or cannot be read, the split leaves no training documents,
            or `folder` has other content or is being written by another process.
        KeyboardInterrupt: After Ctrl-C, with how to resume.

    Example:

    ```python
    import tempfile
    from highnoon.data import StandardLibrary, TokenStore, prepare
    from highnoon.tokenization import ByteTokenizer
    with tempfile.TemporaryDirectory() as folder:
        store = prepare(StandardLibrary(("docs",)), ByteTokenizer(), folder)
        assert TokenStore.open(folder).text(3) == store.text(3)
    ```
    """
    split_threshold(validation_split)
    require_workers(num_workers)
    path = expand_home(folder)
    key = store_key(source, tokenizer)
    with preparation_lock(path):
        if not is_finished(path, key):
            shown = preparation_progress(source.name, expected_bytes(source), show_progress)
            with restartable(path, key), shown as on_progress:
                fill_store(source, tokenizer, key, path, validation_split, num_workers, on_progress)
    return require_training(TokenStore(path, tokenizer, source.name, validation_split))


@contextlib.contextmanager
def preparation_lock(folder: pathlib.Path) -> Iterator[None]:
    """Holds the lock of a folder while it is prepared.

    Raises:
        DataError: If another process or thread prepares it, or it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file; choose a new or empty folder")
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(folder_lock(folder, "wait until it ends, or choose another folder"))
        except FolderLockedError as error:
            raise DataError(f"another process is preparing {folder}: {error}") from None
        yield


def is_finished(folder: pathlib.Path, key: str) -> bool:
    """Returns whether `folder` has the tokens of a key.

    Raises:
        DataError: If it has other content.
    """
    if (folder / MANIFEST_FILE).is_file():
        manifest = read_manifest(folder)
        if manifest["key"] != key:
            raise DataError(
                f"{folder} has the tokens of another source or tokenizer ({manifest['source']}, "
                f"{manifest['tokenizer']}); choose another folder, or remove it"
            )
        return True
    require_free(folder)
    return False


def require_free(folder: pathlib.Path) -> None:
    """Checks that a preparation may write into `folder`.

    Raises:
        DataError: If it is not a folder, or has content that no preparation wrote.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file; choose a new or empty folder")
    entries = folder.iterdir() if folder.exists() else ()
    others = [entry.name for entry in entries if entry.name != LOCK_FILE]
    if others and not {MANIFEST_FILE, PROGRESS_FILE} & set(others) and not set(others) <= _own_files():
        raise DataError(
            f"{folder} is not empty and has no tokens ({', '.join(sorted(others)[:3])}); choose a new or "
            f"empty folder"
        )


@contextlib.contextmanager
def restartable(folder: pathlib.Path, key: str) -> Iterator[None]:
    """Marks the folder if the source raises an error while it is read, and clears a marked folder.

    The work so far is kept for the same key, because the error may be a lost connection. Another key, such as
    that of the fixed source, starts again.
    """
    fault = folder / _FAULT_FILE
    if fault.is_file():
        try:
            read_progress(folder, key)
        except DamagedStoreError:
            for name in (*_own_files() - {_FAULT_FILE}, PROGRESS_FILE):
                (folder / name).unlink(missing_ok=True)
        fault.unlink()
    try:
        yield
    except (DamagedStoreError, WorkerDiedError):
        raise
    except DataError as error:
        fault.write_text(f"{error}\n", encoding="utf-8")
        raise


def _own_files() -> set[str]:
    """Returns the files that a preparation leaves if it is killed before its first journal entry."""
    return {
        TOKENS_FILE,
        *OPTIONAL_FILES,
        *COLUMNS,
        "tokenizer.json",
        CHAT_TEMPLATE_FILE,
        f".{MANIFEST_FILE}",
        f".{PROGRESS_FILE}",
        _FAULT_FILE,
    }
