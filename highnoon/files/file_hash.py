"""The hash of a file's content."""

from __future__ import annotations

import hashlib
import pathlib


def file_hash(path: pathlib.Path) -> str:
    """Returns the BLAKE2b hash of a file, 32 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
