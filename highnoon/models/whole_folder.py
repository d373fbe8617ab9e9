"""Writing a folder so that it is whole or as it was before."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Collection, Iterator


@contextlib.contextmanager
def whole_folder(path: pathlib.Path, own_files: Collection[str]) -> Iterator[pathlib.Path]:
    """Gives an empty folder to write into, which takes the place of `path` where nothing was raised.

    Args:
        path: The folder, there or not.
        own_files: Names of the files that are replaced or go; others that stand in `path` stay.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = pathlib.Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    new, old = beside / "new", beside / "old"
    try:
        new.mkdir()
        yield new
        if path.exists():
            os.replace(path, old)
        os.replace(new, path)
    except BaseException:
        if old.exists():
            os.replace(old, path)
        shutil.rmtree(beside)
        raise
    if old.exists():
        # After the swap: were it to fail, what stays would otherwise be lost with the new folder.
        for other in old.iterdir():
            if other.name not in own_files:
                os.replace(other, path / other.name)
    shutil.rmtree(beside)
