"""The difficulty of texts, measured by the mean loss of a reference model (TensorFlow only)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

_GROUP_TOKENS = 1 << 18
_ROWS_AT_ONCE = 16
_ROW_LENGTH = 256


def reference_losses(samples: Iterable[Any], reference: keras.Model | str | os.PathLike[str]) -> np.ndarray:
    """Scores samples by the loss of a reference model.

    Args:
        samples: Texts, or objects with a `text`; iterated once.
        reference: A language model with a tokenizer, or the path of a saved one. A small model that was
            trained for a few hundred steps on similar text is enough.

    Returns:
        float64 of shape (samples,): the mean loss in nats per token of the reference's tokenizer. Texts do
        not attend to each other. A text with no token to predict scores 0.

    Raises:
        ValueError: The model has no tokenizer, or does not support `segment_ids`.

    Hacohen, Weinshall (2019), "On the power of curriculum learning in training deep networks": transfer
    scoring, here with the loss of a language model.
    """
    model = _open(reference)
    row_length = min(model.max_seq_length, _ROW_LENGTH)
    token_losses = _compile(model, row_length)
    scores: list[np.ndarray] = []
    for rows in _groups(samples, model.tokenizer):
        scores.append(_mean_losses(rows, token_losses, row_length))
    return np.concatenate(scores) if scores else np.zeros(0)


def _open(reference: keras.Model | str | os.PathLike[str]) -> keras.Model:
    if isinstance(reference, (str, os.PathLike)):
        from highnoon.models import load_model

        reference = load_model(os.fspath(reference))
    if getattr(reference, "tokenizer", None) is None or not hasattr(reference, "loss_terms"):
        raise ValueError(
            "`reference_model` must be a HighNoon language model with a tokenizer, or the path of a saved "
            f"one; received {type(reference).__name__} without a tokenizer or without `loss_terms`"
        )
    return reference


def _compile(model: keras.Model, row_length: int) -> Any:
    import tensorflow as tf

    spec = tf.TensorSpec((_ROWS_AT_ONCE, row_length), tf.int32)

    @tf.function(input_signature=[spec] * 4, autograph=False)
    def token_losses(token_ids: Any, labels: Any, segment_ids: Any, positions: Any) -> Any:
        inputs = {"token_ids": token_ids, "segment_ids": segment_ids, "positions": positions}
        logits = tf.cast(model(inputs, training=False), tf.float32)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)

    return token_losses


def _groups(samples: Iterable[Any], tokenizer: Any) -> Iterator[list[list[int]]]:
    """Yields the tokens of the samples in groups of limited size."""
    held: list[str] = []
    size = 0
    for sample in samples:
        text = sample if isinstance(sample, str) else sample.text
        held.append(text)
        size += len(text)
        if size >= _GROUP_TOKENS:
            yield tokenizer.encode_documents(held)
            held, size = [], 0
    if held:
        yield tokenizer.encode_documents(held)


def _mean_losses(documents: Sequence[Sequence[int]], token_losses: Any, row_length: int) -> np.ndarray:
    lengths = np.array([len(tokens) for tokens in documents])
    tokens = np.concatenate([np.asarray(tokens, np.int32) for tokens in documents])
    document = np.repeat(np.arange(len(lengths)), lengths)
    index = np.arange(len(tokens))
    start = np.maximum((np.cumsum(lengths) - lengths)[document], index - index % row_length)
    has_next = np.append(document[1:] == document[:-1], False)
    labels = np.append(tokens[1:], 0) * has_next
    losses = np.zeros(len(tokens))
    batch_tokens = _ROWS_AT_ONCE * row_length
    for first in range(0, len(tokens), batch_tokens):
        part = slice(first, first + batch_tokens)
        # Segment ids may be any numbers that differ between documents; padding is 0.
        arrays = (tokens[part], labels[part], document[part] - document[first] + 1, (index - start)[part])
        found = token_losses(*(_as_rows(values, row_length) for values in arrays)).numpy().reshape(-1)
        losses[part] = found[: len(losses[part])]
    sums = np.bincount(document, losses * has_next, len(lengths))
    return sums / np.maximum(lengths - 1, 1)


def _as_rows(values: np.ndarray, row_length: int) -> np.ndarray:
    missing = _ROWS_AT_ONCE * row_length - len(values)
    return np.pad(values, (0, missing)).astype(np.int32).reshape(_ROWS_AT_ONCE, row_length)
