"""The part of a `tokenizer.json` that puts the begin token before a text, for other libraries."""

from __future__ import annotations

import json
from typing import Any

from highnoon.tokenization.token_roles import without_roles
from highnoon.tokenization.tokenizer import Tokenizer


def with_begin_template(tokenizer: Tokenizer) -> str:
    """Returns the tokenizer's `tokenizer.json` with a post-processor that frames a text as training does.

    HighNoon frames texts itself, and its own files do not describe the framing; another library reads it from
    the file. A prompt starts with the begin token, if there is one, and has no end token.
    """
    values = json.loads(without_roles(tokenizer.to_json())[0])
    kept = [part for part in _parts(values.get("post_processor")) if part.get("type") == "ByteLevel"]
    if tokenizer.bos_token_id is not None:
        name = tokenizer.decode([tokenizer.bos_token_id], skip_special_tokens=False).strip()
        kept.append(begin_template(name, tokenizer.bos_token_id))
    processor = {"type": "Sequence", "processors": kept} if len(kept) > 1 else next(iter(kept), None)
    return json.dumps({**values, "post_processor": processor}, ensure_ascii=False)


def begin_template(name: str, token_id: int) -> dict[str, Any]:
    """Returns the `TemplateProcessing` that puts one token before each text."""

    def begun(sequence: str, type_id: int) -> list[dict[str, Any]]:
        return [
            {"SpecialToken": {"id": name, "type_id": type_id}},
            {"Sequence": {"id": sequence, "type_id": type_id}},
        ]

    return {
        "type": "TemplateProcessing",
        "single": begun("A", 0),
        "pair": [*begun("A", 0), *begun("B", 1)],
        "special_tokens": {name: {"id": name, "ids": [token_id], "tokens": [name]}},
    }


def _parts(processor: dict[str, Any] | None) -> list[dict[str, Any]]:
    if processor is None:
        return []
    return list(processor["processors"]) if processor.get("type") == "Sequence" else [processor]
