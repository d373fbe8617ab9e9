"""Where the documents of a store come from: the file and the line or record of each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from highnoon.data.document import Document

# Two numbers per document: an index in `origin_names` and the number after that name, each -1 for none.
ORIGINS_FILE = "origins.bin"
ORIGINS_TYPE = "<i8"

# Names are in the manifest; the documents of further files have no recorded origin.
MAX_ORIGIN_NAMES = 1 << 16

_NUMBER = re.compile(r"(.*?)(\d{1,18})", re.DOTALL)
_MOST_CHARACTERS = 1000


def document_origin(document: Document) -> str:
    """Returns where a document was read from, such as `a.jsonl:3`; empty if it does not say."""
    return document.location or " ".join(part for part in (document.source, document.id) if part)


def encode_origins(origins: Sequence[str], names: list[str]) -> npt.NDArray[np.int64]:
    """Returns the two numbers of each origin, and adds new names to `names`."""
    index = {name: number for number, name in enumerate(names)}
    encoded = np.full((len(origins), 2), -1, np.int64)
    for row, origin in enumerate(origins):
        match = _NUMBER.fullmatch(origin)
        name, number = (match.group(1), int(match.group(2))) if match else (origin, -1)
        if not origin or len(name) > _MOST_CHARACTERS:
            continue
        if name not in index:
            if len(names) >= MAX_ORIGIN_NAMES:
                continue
            index[name] = len(names)
            names.append(name)
        encoded[row] = index[name], number
    return encoded


def decode_origin(encoded: npt.NDArray[Any], names: Sequence[str]) -> str | None:
    """Returns the origin of two numbers; None if it is not recorded."""
    index, number = encoded.tolist()
    if not 0 <= index < len(names):
        return None
    return names[index] + (str(number) if number >= 0 else "")
