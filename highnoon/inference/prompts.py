"""Converts prompts in any of their forms to rows of ids, and results back to the same form."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops


@dataclasses.dataclass(frozen=True)
class Prompts:
    """Prompts as rows of ids that are never empty.

    Args:
        rows: The ids of each prompt.
        texts: The prompts if they were texts.
        is_single: Whether there was one prompt and not a batch.
        kind: `"text"`, `"list"`, `"array"` or `"tensor"`.
    """

    rows: list[list[int]]
    texts: list[str] | None
    is_single: bool
    kind: str

    @classmethod
    def read(cls, prompts: Any, tokenizer: Any, vocab_size: int) -> Prompts:
        """Reads a text, texts, an integer array (t,) or (b, t), a list of ids, or lists of ids.

        Raises:
            ValueError: no prompt, ids outside the vocabulary, or padding inside an array.
            TypeError: another form.
        """
        if isinstance(prompts, str):
            return cls([_text_ids(prompts, tokenizer)], [prompts], True, "text")
        if isinstance(prompts, np.ndarray) or ops.is_tensor(prompts):
            return _read_array(prompts, tokenizer, vocab_size)
        if not isinstance(prompts, (list, tuple)):
            raise TypeError(
                "`prompts` must be a text, texts, an integer array, or lists of ids; "
                f"received {type(prompts).__name__}"
            )
        if not prompts:
            raise ValueError("`prompts` must contain at least 1 prompt; received none")
        if all(isinstance(prompt, str) for prompt in prompts):
            return cls([_text_ids(text, tokenizer) for text in prompts], list(prompts), False, "text")
        if all(isinstance(token, (int, np.integer)) for token in prompts):
            return cls([_checked(list(prompts), tokenizer, vocab_size)], None, True, "list")
        rows = [_checked(prompt, tokenizer, vocab_size) for prompt in prompts]
        return cls(rows, None, False, "list")

    def give_back(
        self, new_ids: list[list[int]], new_texts: list[str], strip_prompt: bool, pad_id: int
    ) -> Any:
        """Returns the prompts with their continuations, or the continuations alone, in the prompts' form."""
        if self.texts is not None:
            heads = [""] * len(self.texts) if strip_prompt else self.texts
            texts = [head + text for head, text in zip(heads, new_texts, strict=True)]
            return texts[0] if self.is_single else texts
        heads_ids = [[] for _ in self.rows] if strip_prompt else self.rows
        rows = [head + new for head, new in zip(heads_ids, new_ids, strict=True)]
        if self.kind == "list":
            return rows[0] if self.is_single else rows
        longest = max(map(len, rows))
        array = np.asarray([row + [pad_id] * (longest - len(row)) for row in rows], np.int32)
        array = array[0] if self.is_single else array
        return ops.convert_to_tensor(array) if self.kind == "tensor" else array


def _text_ids(text: str, tokenizer: Any) -> list[int]:
    if tokenizer is None:
        raise ValueError(
            "a text prompt needs a tokenizer and the model has none; set `model.tokenizer`, "
            "pass `tokenizer=`, or give token ids"
        )
    ids = tokenizer.encode(text, add_special_tokens=False)
    return _begun(([] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]) + list(ids), tokenizer)


def _begun(ids: list[int], tokenizer: Any) -> list[int]:
    """Ids that are not empty: the begin token stands for an empty prompt."""
    if ids:
        return ids
    if tokenizer is None or tokenizer.bos_token_id is None:
        raise ValueError("an empty prompt needs a tokenizer with a begin token; give at least 1 token")
    return [tokenizer.bos_token_id]


def _read_array(prompts: Any, tokenizer: Any, vocab_size: int) -> Prompts:
    array = ops.convert_to_numpy(prompts)
    if array.dtype.kind not in "iu" or array.ndim not in (1, 2) or not len(array):
        raise TypeError(
            "an array of prompts must contain integers in 1 or 2 dimensions; "
            f"received shape {array.shape} of {array.dtype}"
        )
    rows = [_checked(row, tokenizer, vocab_size) for row in np.atleast_2d(array)]
    pad_id = getattr(tokenizer, "pad_token_id", None)
    if pad_id is not None and any(pad_id in row for row in rows):
        raise ValueError(
            f"an array of prompts must contain no padding (id {pad_id}); "
            "give prompts of unequal length as a list of lists"
        )
    kind = "array" if isinstance(prompts, np.ndarray) else "tensor"
    return Prompts(rows, None, array.ndim == 1, kind)


def _checked(ids: Sequence[int] | Any, tokenizer: Any, vocab_size: int) -> list[int]:
    array = np.asarray(ops.convert_to_numpy(ids) if ops.is_tensor(ids) else ids)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise TypeError(f"each prompt must be a text or a flat list of ids; received {str(ids)[:60]}")
    if array.size and not 0 <= array.min() <= array.max() < vocab_size:
        wrong = next(int(i) for i in array if not 0 <= i < vocab_size)
        raise ValueError(f"token ids must be in [0, vocab_size={vocab_size}); received {wrong}")
    return _begun(array.tolist(), tokenizer)
