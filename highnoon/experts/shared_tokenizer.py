"""The one tokenizer of several language models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from highnoon.config import ConfigError
from highnoon.inference.decoding.uncached_model import decoding_model
from highnoon.tokenization import Tokenizer


def shared_tokenizer(experts: Sequence[keras.Model]) -> Any:
    """Returns the tokenizer of all experts; None where none of them has one.

    Args:
        experts: Language models.

    Raises:
        ConfigError: two have different tokenizers or vocabularies, or one of them has no tokenizer.
    """
    models = [decoding_model(expert) for expert in experts]
    first = getattr(models[0], "tokenizer", None)
    for number, model in enumerate(models):
        require_tokenizer(model, first, f"experts[{number}]", "experts[0]")
        require_vocab_size(model, models[0].vocab_size, f"experts[{number}]", "`experts[0]`")
    return first


def require_tokenizer(model: Any, tokenizer: Any, name: str, other: str) -> None:
    """Checks that a model has a certain tokenizer.

    Args:
        model: The model, one that predicts hidden states included.
        tokenizer: What it must have; None for none.
        name: The model, for the message.
        other: Whose tokenizer it must have.

    Raises:
        ConfigError: it has another one.
    """
    own = getattr(model, "tokenizer", None)
    if not isinstance(own, Tokenizer):
        own = getattr(decoding_model(model), "tokenizer", None)
    if _hash(own) != _hash(tokenizer):
        raise ConfigError(
            f"`{name}` must have the tokenizer of {other}, whose hash is {_hash(tokenizer)}; received "
            f"{_hash(own)}; train every expert with one tokenizer, or set `tokenizer` on the model"
        )


def require_vocab_size(model: Any, vocab_size: int, name: str, other: str) -> None:
    """Checks that a model has a certain vocabulary.

    Args:
        model: The model.
        vocab_size: What it must have.
        name: The model, for the message.
        other: Whose vocabulary it must have.

    Raises:
        ConfigError: it has another one.
    """
    if model.vocab_size != vocab_size:
        raise ConfigError(
            f"`{name}` must have the vocab_size={vocab_size:,} of {other}; received {model.vocab_size:,}; "
            "train all with one vocabulary"
        )


def _hash(tokenizer: Any) -> str:
    return "none, for there is no tokenizer" if tokenizer is None else tokenizer.fingerprint()
