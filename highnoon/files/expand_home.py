"""A path whose `~` is the home of a user."""

from __future__ import annotations

import os
import pathlib


def expand_home(path: str | os.PathLike[str]) -> pathlib.Path:
    """Returns a path in which a leading `~` or `~user` is that user's home.

    A `~` of a user whom the system does not know stays as it is, as in a shell.

    Example:

    ```python
    import pathlib

    from highnoon.files.expand_home import expand_home

    assert expand_home("~/texts") == pathlib.Path.home() / "texts"
    assert expand_home("~no-such-user/texts") == pathlib.Path("~no-such-user/texts")
    ```
    """
    return pathlib.Path(os.path.expanduser(path))
