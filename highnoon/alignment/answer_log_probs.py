"""Log-probabilities of the answers in rows that hold several."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import keras
from keras import ops

from highnoon.training.objectives.token_logits import token_logits

_RATES = ("dropout", "recurrent_dropout", "rate")
_DROPOUT_LAYERS = (keras.layers.Dropout, keras.layers.GaussianDropout, keras.layers.AlphaDropout)


class TokenLogProbs(NamedTuple):
    """The log-probabilities that a model computes for the tokens of a batch.

    Args:
        log_probs: (n, t) float32, the log-probability of each label.
        aux_loss: Scalar; the losses that layers report, a mean over tokens.
        metrics: Scalars, token means of what layers report.
    """

    log_probs: Any
    aux_loss: Any
    metrics: Mapping[str, Any]


def token_log_probs_of(model: keras.Model, batch: Mapping[str, Any], training: bool) -> TokenLogProbs:
    """Returns the log-probability of each label, with a gradient.

    Dropout is off, in training too: a probability that is compared with that of a reference must not be of
    another random model each time. All else of training, such as the routers' losses, is on.

    Args:
        model: A model with `token_log_probs` (as `LanguageModel` has) computes them itself, without logits
            in memory; any other must return logits (n, t, v).
        batch: `token_ids`, `labels`, `segment_ids` and `positions` (n, t).
        training: Whether a training step asks.
    """
    with without_dropout(model):
        if hasattr(model, "token_log_probs"):
            return TokenLogProbs(**model.token_log_probs(dict(batch), training=training))
        logits, aux_loss = token_logits(model, batch, training)
    log_probs = ops.log_softmax(logits, axis=-1)
    chosen = ops.take_along_axis(log_probs, ops.cast(batch["labels"], "int32")[..., None], axis=-1)
    return TokenLogProbs(chosen[..., 0], aux_loss, {})


@contextlib.contextmanager
def without_dropout(model: keras.Model) -> Iterator[None]:
    """A context in which calls of a model, and graphs made of it, have no dropout."""
    changed = []
    for layer in model._flatten_layers():
        for name in _RATES:
            rate = getattr(layer, name, None)
            is_rate = name != "rate" or isinstance(layer, _DROPOUT_LAYERS)
            if is_rate and isinstance(rate, float) and rate > 0:
                changed.append((layer, name, rate))
    for layer, name, _ in changed:
        setattr(layer, name, 0.0)
    try:
        yield
    finally:
        for layer, name, rate in changed:
            setattr(layer, name, rate)


def segment_sums(values: Any, segment_ids: Any) -> Any:
    """Returns the sum over each segment: that of segment k at index k - 1.

    Args:
        values: (n, t) float32.
        segment_ids: (n, t) int32; 1, 2, ... and 0 for padding.

    Returns:
        (n, t) float32; 0 where there is no such segment.
    """
    length = values.shape[1]
    num_rows = ops.shape(values)[0]
    ids = ops.cast(segment_ids, "int32") + (length + 1) * ops.arange(num_rows, dtype="int32")[:, None]
    sums = ops.segment_sum(
        ops.reshape(values, (-1,)), ops.reshape(ids, (-1,)), num_segments=num_rows * (length + 1)
    )
    return ops.reshape(sums, (-1, length + 1))[:, 1:]
