"""JSON objects with a hash of their own content."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from highnoon.files.foreign import ForeignDataError

DIGEST = "digest"


def seal(values: dict[str, Any]) -> dict[str, Any]:
    """Returns `values` with their hash as `digest`."""
    return {**values, DIGEST: _digest(values)}


def require_sealed(values: dict[str, Any], owner: str) -> None:
    """Checks the hash of an object that `seal` returned; an object without a `digest` is accepted.

    Raises:
        ForeignDataError: If the hash does not match the content.
    """
    if DIGEST in values and values[DIGEST] != _digest(without_digest(values)):
        raise ForeignDataError(f"{owner}: the content has changed since it was written")


def without_digest(values: dict[str, Any]) -> dict[str, Any]:
    """Returns `values` without their hash."""
    return {key: value for key, value in values.items() if key != DIGEST}


def _digest(values: dict[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
