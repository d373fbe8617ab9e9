"""Byte-level BPE as a `tokenizer.json`: the name of each byte, and the definition of a vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from highnoon.tokenization.special_tokens import SPECIAL_TOKENS, UNK_ID


def _byte_names() -> list[str]:
    """Returns the character of each byte in a `tokenizer.json`.

    A printable Latin-1 character is its own byte; the other 68 bytes take the characters from U+0100 on, in
    order. This is the alphabet of the `ByteLevel` pre-tokenizer.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = (byte for byte in range(256) if byte not in printable)
    shifted = {byte: 0x100 + index for index, byte in enumerate(others)}
    return [chr(shifted.get(byte, byte)) for byte in range(256)]


BYTE_NAMES: tuple[str, ...] = tuple(_byte_names())
_BYTE_OF_NAME = {name: byte for byte, name in enumerate(BYTE_NAMES)}


def token_to_bytes(token: str) -> bytes:
    """Returns the bytes of a token of a byte-level vocabulary."""
    return bytes(_BYTE_OF_NAME[character] for character in token)


def definition(merges: Sequence[tuple[str, str]], chat_marks: Sequence[str] = ()) -> dict[str, Any]:
    """Returns the complete `tokenizer.json` of the vocabulary that `merges` make.

    Ids are the special tokens, the 256 bytes in order, the results of the merges in order, and the
    marks of a chat template. No normalizer, no prefix space: decoding is exact.
    """
    vocab = {token: token_id for token_id, token in enumerate([*SPECIAL_TOKENS, *BYTE_NAMES])}
    for left, right in merges:
        vocab.setdefault(left + right, len(vocab))
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": token_id,
                "content": name,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for token_id, name in [*enumerate(SPECIAL_TOKENS), *enumerate(chat_marks, len(vocab))]
        ],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": SPECIAL_TOKENS[UNK_ID],
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocab,
            "merges": [list(pair) for pair in merges],
        },
    }
