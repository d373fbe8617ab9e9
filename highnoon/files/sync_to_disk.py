"""Flushes a file or a folder to disk."""

from __future__ import annotations

import os
import pathlib


def sync_to_disk(path: pathlib.Path) -> None:
    """Waits until a file's content, or a folder's entries, are on disk.

    Windows cannot open a folder and does not need it.
    """
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
