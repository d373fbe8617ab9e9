"""Computes the values of a frozen model for the tokens of a store, once."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from highnoon.config import require_choice, require_count
from highnoon.data.document import DataError
from highnoon.data.preparation.derivation_progress import derivation_progress
from highnoon.data.preparation.tokenize import default_cache_dir
from highnoon.data.tokens.checked_array import DamagedStoreError
from highnoon.data.tokens.derived_columns import (
    DERIVED_MANIFEST,
    DERIVED_VERSION,
    DerivedColumn,
    DerivedColumns,
)
from highnoon.data.tokens.derived_writer import DerivedWriter
from highnoon.data.tokens.document_windows import DocumentWindows
from highnoon.data.tokens.token_store import TokenStore
from highnoon.files.expand_home import expand_home
from highnoon.files.folder_lock import FolderLockedError, path_lock
from highnoon.files.name_path import FULL_DISK, name_path
from highnoon.files.whole_folder import recover_folder, replace_folder

Batch = Mapping[str, npt.NDArray[Any]]
OnProgress = Callable[[int, int], None]

_SECONDS_BETWEEN_LOOKS = 0.2


@dataclasses.dataclass(frozen=True)
class Derivation:
    """A computation, and everything that determines its values besides the tokens.

    Args:
        columns: Type and shape of each column by name; a name is an identifier.
        compute: Called with a batch of `token_ids`, `labels` (the next token of the document, 0 at its end)
            and `padding_mask` (1 at tokens), int32 arrays of shape (rows, tokens), and `loss_weights`, which
            is 1.0 where there is a label. Returns for each column an array of shape (rows, tokens, *shape),
            or (rows, *shape) for a value a document.
        weights_hash: Hash of the frozen model's weights.
        config: Everything else that determines the values, as JSON: another configuration is another column.
        window: Maximum tokens of a document that the model sees at once. A longer document is split into
            windows, each read from its own beginning; for a value a document the first window alone is read.
        batch_size: Rows per batch.
        per: `"token"` or `"document"`.

    Raises:
        DataError: an argument is out of its range.
    """

    columns: Mapping[str, DerivedColumn]
    compute: Callable[[Batch], Mapping[str, Any]]
    weights_hash: str
    config: Mapping[str, Any]
    window: int
    batch_size: int = 8
    per: str = "token"

    def __post_init__(self) -> None:
        require_count("window", self.window, error=DataError)
        require_count("batch_size", self.batch_size, error=DataError)
        require_choice("per", self.per, ("token", "document"), DataError)
        if not self.columns or not all(name.isidentifier() for name in self.columns):
            raise DataError(f"`columns` must have identifiers as names; received {list(self.columns)}")

    def key(self, store: TokenStore) -> str:
        """Returns the hash that identifies the columns of a store."""
        parts = [DERIVED_VERSION, store.fingerprint, self.weights_hash, self.describe()]
        return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16).hexdigest()

    def describe(self) -> dict[str, Any]:
        """Returns everything that determines the values besides tokens and weights, as JSON values."""
        columns = {name: {"dtype": c.dtype, "shape": list(c.shape)} for name, c in self.columns.items()}
        return {"columns": columns, "config": dict(self.config), "window": self.window, "per": self.per}


def derive_columns(
    store: TokenStore,
    derivation: Derivation,
    folder: str | os.PathLike[str] | None = None,
    on_progress: OnProgress | None = None,
    *,
    show_progress: bool = False,
) -> DerivedColumns:
    """Returns derived columns of a store, from disk if they have been computed before.

    They are stored in `<store>.columns/<key>`, next to the store's own folder. The key is a hash of the
    store, the weights and the configuration. The folder is complete or absent: the next call continues one
    that was killed, with the same values. If another process computes the columns, this one waits for it.

    Args:
        store: The tokens.
        derivation: The computation.
        folder: Where columns are stored; None stores them next to the store.
        on_progress: Called with the number of finished windows and of all windows.
        show_progress: Whether to show progress and remaining time on standard error.

    Raises:
        DataError: `compute` returned other columns or shapes, or a value that is not finite.

    Example:

    ```python
    import pathlib, tempfile
    import numpy as np
    from highnoon.data import Derivation, DerivedColumn, Files, derive_columns, tokenize
    from highnoon.tokenization import ByteTokenizer

    def double(batch):
        return {"double": 2.0 * batch["token_ids"]}

    columns = {"double": DerivedColumn("<f4")}
    derivation = Derivation(columns, double, weights_hash="none", config={}, window=8)
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "a.txt").write_text("Hello")
        store = tokenize(Files(f"{folder}/a.txt"), ByteTokenizer(), folder, validation_split=0.0)
        derived = derive_columns(store, derivation)
        assert derived.read("double", np.array([0, 1])).tolist() == [4.0, 158.0]
    ```
    """
    path = (columns_folder(store) if folder is None else expand_home(folder)) / derivation.key(store)
    with name_path(path, FULL_DISK, "free disk space there, or keep the columns in another folder"):
        recover_folder(path)
        found = _open(path)
        if found is not None:
            return found
        path.parent.mkdir(parents=True, exist_ok=True)
        with _waiting_lock(path):
            found = _open(path)  # another process may have computed them in the meantime
            if found is None:
                unfinished = path.with_name(f".{path.name}")
                title = f"{store.name}: {', '.join(derivation.columns)}"
                with derivation_progress(title, is_shown=show_progress) as show:
                    _fill(unfinished, path.name, store, derivation, on_progress or show)
                replace_folder(unfinished, path)
    return DerivedColumns(path)


def columns_folder(store: TokenStore, cache_dir: str | os.PathLike[str] | None = None) -> pathlib.Path:
    """Returns where the derived columns of a store are kept.

    That is next to the store; in the cache if that folder cannot be written.
    """
    if os.access(store.folder.parent, os.W_OK):
        return store.folder.with_name(f"{store.folder.name}.columns")
    return default_cache_dir(cache_dir) / "columns" / store.fingerprint


def _open(path: pathlib.Path) -> DerivedColumns | None:
    if not path.exists():
        return None
    try:
        return DerivedColumns(path)
    except DamagedStoreError as error:
        warnings.warn(f"computing derived columns again: {error}", stacklevel=3)
        return None


@contextlib.contextmanager
def _waiting_lock(path: pathlib.Path) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(path_lock(path))
                break
            except FolderLockedError:
                time.sleep(_SECONDS_BETWEEN_LOOKS)
        yield


def _fill(
    folder: pathlib.Path, key: str, store: TokenStore, derivation: Derivation, on_progress: OnProgress | None
) -> None:
    windows = DocumentWindows(store, derivation.window, only_first=derivation.per == "document")
    with DerivedWriter(folder, key, derivation.columns) as writer:
        for start in range(writer.num_windows, len(windows), derivation.batch_size):
            if on_progress is not None:
                on_progress(start, len(windows))
            batch, is_token = windows.read(start, derivation.batch_size)
            values = {
                name: _chosen(name, column, derivation, batch, is_token, found)
                for (name, column), found in zip(
                    derivation.columns.items(), _computed(derivation, batch), strict=True
                )
            }
            writer.append(values, min(derivation.batch_size, len(windows) - start))
        if on_progress is not None:
            on_progress(len(windows), len(windows))
        writer.finish(
            folder / DERIVED_MANIFEST,
            {
                "version": DERIVED_VERSION,
                "key": key,
                "store": store.fingerprint,
                "weights": derivation.weights_hash,
                "values": len(store) if derivation.per == "document" else int(store.offsets[-1]),
                **derivation.describe(),
            },
        )


def _computed(derivation: Derivation, batch: Batch) -> list[npt.NDArray[Any]]:
    values = derivation.compute(batch)
    if set(values) != set(derivation.columns):
        raise DataError(
            f"`compute` must return the columns {sorted(derivation.columns)}; received {sorted(values)}"
        )
    return [np.asarray(values[name]) for name in derivation.columns]


def _chosen(
    name: str,
    column: DerivedColumn,
    derivation: Derivation,
    batch: Batch,
    is_token: npt.NDArray[np.bool_],
    values: npt.NDArray[Any],
) -> npt.NDArray[Any]:
    """Returns the values of the tokens, or of the documents, in the order of the store."""
    rows, tokens = batch["token_ids"].shape
    expected = (rows, *column.shape) if derivation.per == "document" else (rows, tokens, *column.shape)
    if values.shape != expected:
        raise DataError(f"`compute` must return `{name}` of shape {expected}; received {values.shape}")
    chosen = values[is_token.any(axis=1)] if derivation.per == "document" else values[is_token]
    if not np.isfinite(chosen).all():
        raise DataError(f"`compute` returned values of `{name}` that are not finite; check the frozen model")
    return chosen.astype(column.dtype)
