"""Tokenising a source into a folder that the user names, in several processes."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterator

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

# Says that the source was at fault where the work in the folder ends.
_FAULT_FILE = "fault.txt"


def prepare(
    source: DocumentSource,
    tokenizer: Tokenizer,
    folder: str | os.PathLike[str],
    num_workers: int | None = None,
    validation_split: float = 0.1,
    show_progress: bool = False,
) -> TokenStore:
    """Writes the tokens of `source` into `folder` and returns them.

    The files are the same for any number of workers. A call that was stopped or killed is taken up by the
    next one with the same arguments, and one that was finished returns at once. After an error in the source,
    a mended source, or other ways of reading it, begin anew in the same folder. The tokenizer is saved
    with the tokens: `TokenStore.open(folder)` needs nothing else, and `PreparedTokens(folder)` is a
    dataset.

    Args:
        source: Where the documents come from.
        tokenizer: Turns their text into ids.
        folder: New or empty, or what an earlier call left.
        num_workers: Processes that tokenise. 1 starts none; None starts one a core for large sources.
        validation_split: Share of documents to hold out, by a hash of their text, in [0, 1).
        show_progress: Show megabytes, speed and time left on standard error.

    Raises:
        DataError: the source has no documents or cannot be read, the split leaves none to train on, or
            `folder` holds something else or is being written by another process.
        KeyboardInterrupt: after Ctrl-C, with how to go on.

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
            with mendable(path, key), shown as on_progress:
                fill_store(source, tokenizer, key, path, validation_split, num_workers, on_progress)
    return require_training(TokenStore(path, tokenizer, source.name, validation_split))


@contextlib.contextmanager
def preparation_lock(folder: pathlib.Path) -> Iterator[None]:
    """Holds the lock of a folder that is being prepared.

    Raises:
        DataError: another process or thread prepares it, or it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file; give a new or empty folder")
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(folder_lock(folder, "wait until it ends, or give another folder"))
        except FolderLockedError as error:
            raise DataError(f"another process is preparing {folder}: {error}") from None
        yield


def is_finished(folder: pathlib.Path, key: str) -> bool:
    """Returns whether `folder` holds the tokens of that key.

    Raises:
        DataError: it holds anything else.
    """
    if (folder / MANIFEST_FILE).is_file():
        manifest = read_manifest(folder)
        if manifest["key"] != key:
            raise DataError(
                f"{folder} holds the tokens of other text or another tokenizer "
                f"({manifest['source']}, {manifest['tokenizer']}); give another folder, or "
                f"remove it"
            )
        return True
    require_free(folder)
    return False


def require_free(folder: pathlib.Path) -> None:
    """Raises:
    DataError: `folder` is no folder, or holds what no preparation wrote.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file; give a new or empty folder")
    entries = folder.iterdir() if folder.exists() else ()
    others = [entry.name for entry in entries if entry.name != LOCK_FILE]
    if others and not {MANIFEST_FILE, PROGRESS_FILE} & set(others) and not set(others) <= _own_files():
        raise DataError(
            f"{folder} is not empty and holds no tokens ({', '.join(sorted(others)[:3])}); give "
            f"a new or empty folder"
        )


@contextlib.contextmanager
def mendable(folder: pathlib.Path, key: str) -> Iterator[None]:
    """Marks the folder where the source is at fault while it is read, and clears one so marked.

    What was done is kept for the same key, for the fault may have been a connection that was lost. Any other
    key, as that of a mended source, begins anew.
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
    """What a preparation leaves that was killed before its first entry in the journal."""
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
