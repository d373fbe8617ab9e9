"""Names that a room of the package had before, resolved when they are asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any


def former_names(room: str) -> Callable[[str], Any]:
    """Returns a `__getattr__` for a room, which finds its former names in `highnoon.compat`.

    The room imports nothing: `highnoon.compat` is above all rooms whose names it holds, and is loaded when
    one of these names is asked for.

    Args:
        room: Name of the package, such as `"highnoon.models"`.
    """

    def __getattr__(name: str) -> Any:
        if not name.startswith("_"):
            compat = importlib.import_module("highnoon.compat")
            if name in compat.FORMER_NAMES.get(room, ()):
                return getattr(compat, name)
        raise AttributeError(f"module {room!r} has no attribute {name!r}")

    return __getattr__
