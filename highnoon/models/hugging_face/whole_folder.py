"""Writing a folder so that it is whole or as it was before."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def whole_folder(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives an empty folder to write into, which takes the place of `path` where nothing was raised."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = pathlib.Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        (beside / "new").mkdir()
        yield beside / "new"
        if path.exists():
            os.replace(path, beside / "old")
        os.replace(beside / "new", path)
    finally:
        if (beside / "old").exists() and not path.exists():
            os.replace(beside / "old", path)
        shutil.rmtree(beside)
