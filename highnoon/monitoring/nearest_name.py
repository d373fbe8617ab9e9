"""A refusal of a name that does not exist, with the nearest that does."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from highnoon.files.shown import shown

_MAX_CHARACTERS = 100


def unknown_name(kind: str, name: object, known: Iterable[str]) -> ValueError:
    """Returns the error to raise: it names the nearest known name, or all of them."""
    known = list(known)
    # Of what else a file may hold in place of a name, or of a long text, nothing is near.
    is_name = isinstance(name, str) and len(name) <= _MAX_CHARACTERS
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5) if is_name else []
    hint = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(known)}"
    received = shown(name)[1:-1] if isinstance(name, str) else shown(name)
    return ValueError(f"there is no {kind} `{received}`; {hint}")
