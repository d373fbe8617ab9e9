"""Log-probabilities of the tokens of a text."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from highnoon.inference.decoding.cache_layout import context_limit
from highnoon.inference.decoding.decoder import PIECES, decoder_for, padded_length
from highnoon.inference.decoding.session import Session
from highnoon.inference.decoding.uncached_model import decoding_model
from highnoon.inference.prompts import Prompts

_PIECES = PIECES[1:-1]  # the largest would need memory for the logits of 512 tokens of every row


def log_probabilities(model: Any, token_ids: Any, tokenizer: Any = None) -> np.ndarray | list[np.ndarray]:
    """Returns the natural logarithm of each token's probability given the tokens before it.

    ```
    result[i] = log softmax(logits of token_ids[: i + 1])[token_ids[i + 1]]
    ```

    The first token has no value, so n tokens have n - 1 values; a text is framed by the begin token, so
    each of its own tokens has one. Temperature and other sampling options have no effect. The sum over a
    continuation's tokens is the logarithm of its probability.

    Args:
        model: A language model with a cache, see `generate`.
        token_ids: A text, texts, an integer array (t,) or (b, t), a list of ids, or lists of ids of unequal
            length. All rows are read together.
        tokenizer: For texts; None takes the model's.

    Returns:
        (t - 1,) float32 for one row, a list of such arrays for many.

    Raises:
        ValueError: a row longer than the model's context, ids outside the vocabulary, or a text without
            a tokenizer.
        TypeError: another form.

    Example:

    ```python
    import highnoon as hn
    from highnoon.inference import log_probabilities

    model = hn.create_model("highnoon-nano", num_reasoning_blocks=1)
    ids = model.generate([2, 40], max_length=5, seed=1)
    values = log_probabilities(model, ids)
    assert values.shape == (6,) and (values < 0).all()
    drawn = values[1:]  # the 5 tokens that were drawn
    ```
    """
    model = decoding_model(model)
    tokenizer = tokenizer if tokenizer is not None else getattr(model, "tokenizer", None)
    read = Prompts.read(token_ids, tokenizer, model.vocab_size)
    longest, limit = max(map(len, read.rows)), context_limit(model)
    if longest > limit:
        raise ValueError(
            f"a row has {longest} tokens and the model's context max_seq_length={limit}; split it"
        )
    values = _values(model, read.rows)
    return values[0] if read.is_single else values


def _values(model: Any, rows: list[list[int]]) -> list[np.ndarray]:
    length = padded_length(max(map(len, rows)) - 1)
    inputs, targets = np.zeros((2, len(rows), length), np.int32)
    padding = np.asarray([length - len(row) + 1 for row in rows], np.int32)
    for index, row in enumerate(rows):
        inputs[index, padding[index] :], targets[index, padding[index] :] = row[:-1], row[1:]
    session = Session(model, len(rows), max(1, length))
    read = decoder_for(model).compiled("log_probabilities", _read)
    parts, start = [np.zeros((len(rows), 0), np.float32)], 0
    for size in _PIECES:
        while length - start >= size:
            piece = slice(start, start + size)
            part, session.cache = read(
                inputs[:, piece], targets[:, piece], session.cache, np.asarray(start, np.int32), padding
            )
            parts.append(ops.convert_to_numpy(part))
            start += size
    values = np.concatenate(parts, axis=1)
    return [row[first:] for row, first in zip(values, padding, strict=True)]


def _read(model: Any, token_ids: Any, targets: Any, cache: Any, index: Any, padding: Any) -> tuple[Any, Any]:
    logits, cache = model.decode(token_ids, cache, index, padding=padding)
    values = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
    return ops.take_along_axis(values, targets[:, :, None], axis=2)[:, :, 0], cache
