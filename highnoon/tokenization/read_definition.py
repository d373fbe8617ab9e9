"""Reading a `tokenizer.json` from an unknown source."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Iterator
from typing import Any

from highnoon.files.foreign import ForeignDataError, parse_json, read_text, require_depth
from highnoon.tokenization.tokenizer import TokenizerError

_LARGEST_GROWTH = 10_000


def read_definition(file: pathlib.Path) -> dict[str, Any]:
    """Returns the parsed `tokenizer.json`.

    Raises:
        TokenizerError: it is not a JSON object within the bounds of `highnoon.files.foreign`.
        OSError: it cannot be read.
    """
    try:
        values: dict[str, Any] = parse_json(read_text(file), "its text")
    except ForeignDataError as error:
        raise TokenizerError(f"{file} is not JSON of a tokenizer: {error}; give a tokenizer.json") from None
    return values


def require_bounded(definition: str) -> None:
    """Checks the text of a `tokenizer.json` before the library `tokenizers` reads it.

    Replacements that follow each other multiply a text's length; together they may make it 10,000 times as
    long. A pre-tokenizer's regular expression needs no check: Oniguruma stops a match after a fixed number
    of retries.

    Raises:
        TokenizerError: it is not a JSON object, is nested too deeply, or its replacements make a text too
            long.
    """
    try:
        values = parse_json(definition, "its text")
        require_depth(values, "its text")
    except ForeignDataError as error:
        raise TokenizerError(f"not a tokenizer.json: {error}") from None
    for part in ("normalizer", "decoder"):
        if sum(map(math.log, _growths(values.get(part)))) > math.log(_LARGEST_GROWTH):
            raise TokenizerError(
                f"not a tokenizer.json to use: the replacements of its {part} make a text more than "
                f"{_LARGEST_GROWTH:,} times as long; expected fewer or shorter ones"
            )


def _growths(part: Any) -> Iterator[float]:
    """Yields the largest factor by which each replacement in a part multiplies a text's length."""
    if isinstance(part, list):
        for one in part:
            yield from _growths(one)
    elif isinstance(part, dict):
        pattern, content = part.get("pattern"), part.get("content")
        if part.get("type") == "Replace" and isinstance(content, str):
            literal = pattern.get("String") if isinstance(pattern, dict) else None
            replaced = len(literal) if isinstance(literal, str) and literal else 0
            yield max(1.0, len(content) / replaced if replaced else len(content) + 1)
        for one in part.values():
            yield from _growths(one)
