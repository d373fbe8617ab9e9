"""Names of the form `kind:name` that other packages open."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Sequence

from highnoon.config import require_path
from highnoon.data.document import DataError, DocumentSource
from highnoon.data.records.read_options import ReadOptions
from highnoon.files.expand_home import expand_home

OpenKind = Callable[[str, Sequence[pathlib.Path], ReadOptions], DocumentSource]

_OPENERS: dict[str, OpenKind] = {}


def register_source_kind(kind: str, opener: OpenKind) -> None:
    """Registers what opens the names that begin with `kind:`.

    Args:
        kind: The word before the colon.
        opener: Receives the rest of the name, the folders of local copies in the order in which they are
            searched, and how records are read; returns the source. Raises `SourceNotFoundError` if there is
            no such data.

    Raises:
        DataError: If another opener has that kind.
    """
    if _OPENERS.setdefault(kind, opener) is not opener:
        raise DataError(f"another opener of `{kind}:` is registered already; choose another word")


def opener_of(name: str) -> OpenKind | None:
    """Returns what opens a name, or None if it has no registered kind."""
    return _OPENERS.get(name.partition(":")[0]) if ":" in name else None


def is_kind(kind: str) -> bool:
    """Returns whether a word is a registered kind."""
    return kind in _OPENERS


def local_folders(data_dir: str | os.PathLike[str] | None) -> list[pathlib.Path]:
    """Returns the folders of local copies: `data_dir`, then the one that `HIGHNOON_DATA` names.

    Raises:
        DataError: If one of them is no folder.
    """
    named = [] if data_dir is None else [("data_dir", require_path("data_dir", data_dir, DataError))]
    if from_environment := os.environ.get("HIGHNOON_DATA"):
        named.append(("HIGHNOON_DATA", from_environment))
    folders = [(owner, expand_home(folder)) for owner, folder in named]
    for owner, folder in folders:
        if not folder.is_dir():
            raise DataError(f"`{owner}` must name a folder; there is none at {folder}")
    return [folder for _, folder in folders]
