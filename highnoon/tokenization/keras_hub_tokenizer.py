"""Reads the byte-pair tokenizers of KerasHub, so that its models train and generate on their own ids."""

from __future__ import annotations

from typing import Any

from highnoon.tokenization.pretrained_tokenizer import PretrainedTokenizer
from highnoon.tokenization.tokenizer import Tokenizer, TokenizerError

_PROBE = "Noon, 12:00 o'clock;\n  it's  naïve 光!"


def is_keras_hub_tokenizer(tokenizer: Any) -> bool:
    """Whether an object is a tokenizer of KerasHub, which this room does not import."""
    return any(cls.__module__.startswith("keras_hub.") for cls in type(tokenizer).__mro__)


def is_readable(tokenizer: Any) -> bool:
    """Whether `as_tokenizer` can read a tokenizer of KerasHub: a byte-pair one, made with a vocabulary."""
    return hasattr(getattr(tokenizer, "_tokenizer", None), "to_str")


def as_tokenizer(tokenizer: Any) -> Any:
    """Returns a tokenizer of KerasHub as one of HighNoon, with the same ids; any other as it is.

    Args:
        tokenizer: A HighNoon tokenizer, an object with its interface, one of KerasHub, or None.

    Raises:
        TokenizerError: a tokenizer of KerasHub that is no byte-pair tokenizer with a vocabulary, or that has
            no end token.
    """
    if isinstance(tokenizer, Tokenizer) or not is_keras_hub_tokenizer(tokenizer):
        return tokenizer
    name = type(tokenizer).__name__
    if not is_readable(tokenizer):
        raise TokenizerError(
            f"of KerasHub's tokenizers the byte-pair ones are read; received a {name}. Give the published "
            "tokenizer.json of the model as `tokenizer=hn.load_tokenizer(folder)`"
        )
    # KerasHub encodes with an engine of `tokenizers`, whose text is a tokenizer.json.
    ours = PretrainedTokenizer(tokenizer._tokenizer.to_str())
    ids = [int(token_id) for token_id in tokenizer(_PROBE)]
    if ours.encode(_PROBE, add_special_tokens=False) != ids:
        raise TokenizerError(
            f"a {name} adds more than its ids to a text, such as a fixed length; make it with its vocabulary "
            "and merges alone"
        )
    return ours
