"""A model's loss as the measure of how hard a text is."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest

from highnoon.tokenization import ByteTokenizer
from highnoon.training.curricula.reference_loss import reference_losses

TEXTS = ["", "one two three " * 9, "fish"]


def loss_by_hand(model: keras.Model, text: str) -> float:
    """The mean over a text's tokens, each row of 32 a beginning of its own."""
    tokens = ByteTokenizer().encode_documents([text])[0]
    losses = []
    for start in range(0, len(tokens), 32):
        inputs, labels = tokens[start : start + 32], tokens[start + 1 : start + 33]
        logits = keras.ops.convert_to_numpy(model({"token_ids": np.array([inputs])}))[0].astype(np.float64)
        chances = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        losses += [-chances[index, label] for index, label in enumerate(labels)]
    return float(np.mean(losses))


def test_each_text_is_scored_by_itself(make_model: Callable[..., keras.Model]) -> None:
    model = make_model()
    alone = np.array([reference_losses([text], model)[0] for text in TEXTS])
    expected = [loss_by_hand(model, text) for text in TEXTS]
    np.testing.assert_allclose(alone, expected, rtol=1e-4)


def test_no_text_sees_another(make_model: Callable[..., keras.Model]) -> None:
    """In one row; one that the end of a row cuts is seen in two parts."""
    model = make_model()
    alone, together = reference_losses(["fish"], model), reference_losses(["noon", "fish", "sun!"], model)
    np.testing.assert_allclose(together[1], alone[0], rtol=1e-4)
    assert reference_losses([], model).shape == (0,)


def test_a_model_without_a_tokenizer_is_refused(make_model: Callable[..., keras.Model]) -> None:
    model = make_model()
    model.tokenizer = None
    with pytest.raises(ValueError, match="language model with a tokenizer"):
        reference_losses(["a"], model)
