"""An engine of `tokenizers` that never makes special ids from text."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any


def plain_text_definition(definition: str, names: Mapping[int, str]) -> str | None:
    """Returns a `tokenizer.json` that encodes as `definition`, except the names of special tokens as text.

    The library's own `encode_special_tokens` does so for special added tokens, but not for pieces of the
    model's vocabulary, which Unigram, WordPiece, WordLevel and BPE with `ignore_merges` find, nor for
    added tokens that are not marked as special. So these get other names under the same ids.

    Args:
        definition: The text of a `tokenizer.json`.
        names: Special ids and their names.

    Returns:
        The text of the new definition; None if the old one never makes special ids from text.
    """
    values = json.loads(definition)
    # Nobody can guess the name; no id of any other text depends on it.
    secret = secrets.token_hex(16)
    new_names = {name: f"{secret}{token_id}" for token_id, name in names.items()}
    model = values["model"]
    added = [token for token in values.get("added_tokens") or [] if token["content"] in new_names]
    in_vocab = any(_names_of(model, name) for name in new_names)
    if not in_vocab and all(token.get("special") for token in added):
        return None
    for token in added:
        token["content"] = new_names[token["content"]]
        token["special"] = True
    _rename(model, new_names)
    values["post_processor"] = None
    return json.dumps(values, ensure_ascii=False)


def _names_of(model: dict[str, Any], name: str) -> bool:
    vocab = model.get("vocab") or {}
    return name in vocab if isinstance(vocab, dict) else any(piece[0] == name for piece in vocab)


def _rename(model: dict[str, Any], new_names: Mapping[str, str]) -> None:
    vocab = model.get("vocab") or {}
    if isinstance(vocab, dict):
        model["vocab"] = {new_names.get(name, name): token_id for name, token_id in vocab.items()}
    else:
        model["vocab"] = [[new_names.get(name, name), score] for name, score in vocab]
    if model.get("unk_token") in new_names:
        model["unk_token"] = new_names[model["unk_token"]]
    if "merges" in model:
        model["merges"] = [merge for merge in model["merges"] if not _makes_any(merge, new_names)]


def _makes_any(merge: str | list[str], names: Mapping[str, str]) -> bool:
    left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
    return left in names or right in names or left + right in names
