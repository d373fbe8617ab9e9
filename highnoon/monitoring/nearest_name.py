"""A refusal of a name that does not exist, with the nearest that does."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from highnoon.config import shown

_LONGEST = 200


def unknown_name(kind: str, name: Any, known: Iterable[str]) -> ValueError:
    """Returns the error to raise: it names the nearest known name, or all of them."""
    known = list(known)
    if not isinstance(name, str) or len(name) > _LONGEST:
        return ValueError(f"there is no {kind} {shown(name)}; known: {', '.join(known)}")
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(known)}"
    return ValueError(f"there is no {kind} `{name}`; {hint}")
