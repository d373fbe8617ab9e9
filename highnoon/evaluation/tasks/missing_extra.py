"""The error of a missing extra."""

from __future__ import annotations

import importlib
from typing import Any


def import_extra(name: str, needed_for: str) -> Any:
    """Returns a module of the extra `tasks`.

    Args:
        name: Of the module.
        needed_for: What it is for, in a few words.

    Raises:
        ImportError: It is not installed; one line.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ImportError(
            f"{needed_for} needs `{name}`, which is not installed; install it with "
            "pip install 'highnoon[tasks]'"
        ) from None
