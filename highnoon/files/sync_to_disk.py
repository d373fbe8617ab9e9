"""Flushes a file or a folder to disk."""

from __future__ import annotations

import os
import pathlib


def sync_to_disk(path: pathlib.Path) -> None:
    """Waits until the disk has a file's content, or a folder's entries.

    Windows cannot open a folder and needs no such flush.
    """
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
