"""What is at a path, for the error of somebody who looked for something else there."""

from __future__ import annotations

import itertools
import os
import pathlib

from highnoon.files.nearest_name import nearest_name
from highnoon.files.shown import shown
from highnoon.files.step_folders import ROLES, in_checkpoints, step_folders

_LISTED = 6
_LOOKED_AT = 1000


def folder_content(path: pathlib.Path) -> str:
    """Returns a clause on what is at a path: its first entries, or the nearest name where it does not exist.

    Example:

    ```python
    import pathlib

    from highnoon.files.folder_content import folder_content

    pathlib.Path("runs/first").mkdir(parents=True)
    assert folder_content(pathlib.Path("runs")) == "it holds `first/`"
    assert folder_content(pathlib.Path("runs/frist")) == "it does not exist; did you mean `runs/first`?"
    ```
    """
    if path.is_dir():
        names = _names(path)
        return f"it holds {_list(names)}" if names else "it is empty"
    if path.exists():
        return "it is a file"
    roles = ROLES if step_folders(in_checkpoints(path.parent)) else ()
    near = nearest_name(path.name, [*(name.rstrip("/") for name in _names(path.parent)), *roles])
    return "it does not exist" + (f"; did you mean `{path.parent / near}`?" if near is not None else "")


def _names(folder: pathlib.Path) -> list[str]:
    """The first names in a folder, without hidden ones; folders end in a slash."""
    try:
        with os.scandir(folder) as entries:
            found = [
                f"{entry.name}/" if entry.is_dir() else entry.name
                for entry in itertools.islice(entries, _LOOKED_AT)
                if not entry.name.startswith(".")
            ]
    except OSError:
        return []
    return sorted(found)


def _list(names: list[str]) -> str:
    listed = ", ".join(f"`{shown(name)[1:-1]}`" for name in names[:_LISTED])
    more = len(names) - _LISTED
    return f"{listed} and {more} more" if more > 0 else listed
