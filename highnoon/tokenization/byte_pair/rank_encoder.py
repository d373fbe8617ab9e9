"""Encoding large texts with `tiktoken`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from highnoon.tokenization.byte_pair.byte_alphabet import BYTE_NAMES, token_to_bytes
from highnoon.tokenization.byte_pair.engine_errors import engine_errors
from highnoon.tokenization.special_tokens import FIRST_BYTE_ID

# What the `ByteLevel` pre-tokenizer splits text into.
_WORDS = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"

# The regular expression of `tiktoken` fails on a million characters of white space before a word. Of blocks
# of this many, a run of twice as many contains one that is white space alone.
_BLOCK = 100_000


class RankEncoder:
    """Encodes with `tiktoken`, several times faster than `tokenizers`, where the ids are equal.

    `tiktoken` merges any two neighbors that together are a token, the one with the lowest id first;
    `tokenizers` merges only the listed pairs. Both give the same ids if each token is the result of one
    merge, and merging the bytes of each token gives that token: a pair that is not listed can then never be
    next to each other, because the same pair would be so while the bytes of the token are merged. Trained
    tokenizers are like this.

    Args:
        definition: The `tokenizer.json` of a `BytePairTokenizer`.
    """

    def __init__(self, definition: dict[str, Any]) -> None:
        vocab: dict[str, int] = definition["model"]["vocab"]
        self.is_equal = _each_token_has_one_merge(definition) and _each_token_is_reached(definition)
        """Whether the ids are those of `tokenizers` for every text. `encode` must not be called otherwise."""
        if self.is_equal:
            import tiktoken

            self._encoding = tiktoken.Encoding(
                "highnoon",
                pat_str=_WORDS,
                mergeable_ranks={
                    token_to_bytes(token): token_id - FIRST_BYTE_ID
                    for token, token_id in vocab.items()
                    if token_id >= FIRST_BYTE_ID
                },
                special_tokens={},
            )

    def takes(self, text: str) -> bool:
        """Returns whether `encode` can take a text: it contains no very long run of white space."""
        starts = range(0, len(text) - _BLOCK + 1, _BLOCK)
        return not any(text[start : start + _BLOCK].isspace() for start in starts)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns the rank of each token of each text, which is its id less `FIRST_BYTE_ID`.

        Raises:
            UnicodeEncodeError: a text contains a lone surrogate.
        """
        with engine_errors("the tokenizer cannot encode this text"):
            return [self._encoding.encode_ordinary(text) for text in texts]


def _each_token_has_one_merge(definition: dict[str, Any]) -> bool:
    model = definition["model"]
    return len(model["merges"]) == len(model["vocab"]) - FIRST_BYTE_ID - len(BYTE_NAMES)


def _each_token_is_reached(definition: dict[str, Any]) -> bool:
    """Whether the merges turn the bytes of every token into the token."""
    import tokenizers

    engine = tokenizers.Tokenizer.from_str(
        json.dumps(definition | {"added_tokens": [], "pre_tokenizer": None, "decoder": None})
    )
    tokens = list(definition["model"]["vocab"])[FIRST_BYTE_ID:]
    encodings = engine.encode_batch_fast(tokens, add_special_tokens=False)
    return all(encoding.ids == [token_id] for token_id, encoding in enumerate(encodings, start=FIRST_BYTE_ID))
