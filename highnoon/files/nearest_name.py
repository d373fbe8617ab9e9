"""Suggests the nearest known name where a name does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from highnoon.files.shown import shown

MAX_CHARACTERS = 100
"""Longer texts are no misspelt names; comparing them would take long."""
MAX_NAMES = 50
"""More names do not fit into one line of an error message."""
_MIN_SIMILARITY = 0.5


def nearest_names(name: Any, known: Iterable[str], limit: int = 3) -> list[str]:
    """Returns the known names most similar to `name`, the nearest first.

    Args:
        name: What was received; a value that is not a text, or a long text, is similar to none.
        known: The names that exist.
        limit: Most names to return.
    """
    if not isinstance(name, str) or len(name) > MAX_CHARACTERS:
        return []
    return difflib.get_close_matches(name, list(known), n=limit, cutoff=_MIN_SIMILARITY)


def nearest_name(name: Any, known: Iterable[str]) -> str | None:
    """Returns the known name most similar to `name`, or None where none is similar.

    Example:

    ```python
    from highnoon.files.nearest_name import nearest_name

    assert nearest_name("learning_rat", ["learning_rate", "batch_size"]) == "learning_rate"
    assert nearest_name("zebra", ["learning_rate", "batch_size"]) is None
    ```
    """
    return next(iter(nearest_names(name, known, limit=1)), None)


def suggestion(name: Any, known: Iterable[str], otherwise: str = "known") -> str:
    """Returns the end of an error message: the nearest known name, or else all known names.

    Args:
        name: What was received.
        known: The names that exist.
        otherwise: What introduces the list of all names.
    """
    known = list(known)
    near = nearest_name(name, known)
    return f"did you mean `{near}`?" if near is not None else f"{otherwise}: {names_in_short(known)}"


def names_in_short(known: Iterable[str]) -> str:
    """Returns names for a message: all of them, or the first ones and how many more there are."""
    known = list(known)
    more = len(known) - MAX_NAMES
    return (", ".join(known[:MAX_NAMES]) or "none") + (f" and {more} more" if more > 0 else "")


def unknown_name(kind: str, name: Any, known: Iterable[str]) -> str:
    """Returns an error message about a name that does not exist.

    Example:

    ```python
    from highnoon.files.nearest_name import unknown_name

    message = unknown_name("optimizer", "adamv", ["adamw", "lion"])
    assert message == "there is no optimizer `adamv`; did you mean `adamw`?"
    ```
    """
    received = shown(name)[1:-1] if isinstance(name, str) else shown(name)
    return f"there is no {kind} `{received}`; {suggestion(name, known)}"
