"""Tokenising a source into a folder that the user names, in several processes."""

from __future__ import annotations

import os
import pathlib

from highnoon.data.document import DataError, DocumentSource
from highnoon.data.filling import fill_store
from highnoon.data.folder_lock import folder_lock
from highnoon.data.preparation_progress import expected_bytes, preparation_progress
from highnoon.data.splitting import split_threshold
from highnoon.data.store_writer import PROGRESS_FILE
from highnoon.data.token_store import (
    COLUMNS,
    LEARNED_FILE,
    MANIFEST_FILE,
    TOKENS_FILE,
    TokenStore,
    read_manifest,
)
from highnoon.data.tokenizing import require_training, require_workers, store_key
from highnoon.tokenization import Tokenizer


def prepare(source: DocumentSource, tokenizer: Tokenizer, folder: str | os.PathLike[str],
            num_workers: int | None = None, validation_split: float = 0.1,
            show_progress: bool = False) -> TokenStore:
    """Writes the tokens of `source` into `folder` and returns them.

    The files are the same for any number of workers. A call that was stopped or killed is taken up by the
    next one with the same arguments, and one that was finished returns at once. The tokenizer is saved
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
    path = pathlib.Path(folder).expanduser()
    key = store_key(source, tokenizer)
    with folder_lock(path) as is_own:
        if not is_own:
            raise DataError(f"another process is preparing {path}; wait for it, or give another folder")
        if not _is_done(path, key):
            with preparation_progress(source.name, expected_bytes(source), show_progress) as on_progress:
                fill_store(source, tokenizer, key, path, validation_split, num_workers, on_progress)
    return require_training(TokenStore(path, tokenizer, source.name, validation_split))


def _is_done(folder: pathlib.Path, key: str) -> bool:
    """Whether `folder` holds these tokens; an error where it holds anything else."""
    if (folder / MANIFEST_FILE).is_file():
        manifest = read_manifest(folder)
        if manifest["key"] != key:
            raise DataError(f"{folder} holds the tokens of other text or another tokenizer "
                            f"({manifest['source']}, {manifest['tokenizer']}); give another folder, or "
                            f"remove it")
        return True
    others = [entry.name for entry in folder.iterdir()]
    if others and not (folder / PROGRESS_FILE).is_file() and not set(others) <= _own_files():
        raise DataError(f"{folder} is not empty and holds no tokens ({', '.join(sorted(others)[:3])}); give "
                        f"a new or empty folder")
    return False


def _own_files() -> set[str]:
    """What a preparation leaves that was killed before its first entry in the journal."""
    return {TOKENS_FILE, LEARNED_FILE, *COLUMNS, "tokenizer.json", f".{MANIFEST_FILE}", f".{PROGRESS_FILE}"}
