"""Expands `~` in paths."""

from __future__ import annotations

import os
import pathlib


def expand_home(path: str | os.PathLike[str]) -> pathlib.Path:
    """Returns a path with a leading `~` or `~user` replaced by the home folder of the user.

    A `~` of an unknown user does not change, as in a shell.

    Example:

    ```python
    import pathlib

    from highnoon.files.expand_home import expand_home

    assert expand_home("~/texts") == pathlib.Path.home() / "texts"
    assert expand_home("~no-such-user/texts") == pathlib.Path("~no-such-user/texts")
    ```
    """
    return pathlib.Path(os.path.expanduser(path))
