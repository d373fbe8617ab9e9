"""Which parts of a model's cache hold a place a token, and which a state of what was read."""

from __future__ import annotations

import sys
from typing import Any

import keras

from highnoon.inference.decoding.compiling import shapes_of
from highnoon.inference.decoding.decoder import decoder_for


def grows_with_length(model: Any, length: int) -> Any:
    """Returns the cache's nested structure with True where an array holds one place a token.

    Such an array goes back by the index alone: what stands behind it is never read before it is
    written again. Any other array is a state, into which a token goes for good.

    Args:
        model: A model with `initial_cache`.
        length: The cache's length that is asked about.
    """
    known = decoder_for(model).cache_layouts
    if length not in known:
        known[length] = _differing_shapes(model, length)
    return known[length]


def _differing_shapes(model: Any, length: int) -> Any:
    short = shapes_of(lambda: model.initial_cache(1, length))
    long = shapes_of(lambda: model.initial_cache(1, length + 1))
    return keras.tree.map_structure(lambda a, b: a.dims != b.dims, short, long)


def holds_state(model: Any, length: int) -> bool:
    """Whether some of the cache cannot go back by the index alone."""
    return not all(keras.tree.flatten(grows_with_length(model, length)))


def context_limit(model: Any) -> int:
    """Returns the tokens that a sequence may have: `max_seq_length`, or any number where no part of
    the cache grows with the sequence, since a recurrent model reads on for ever in the same memory.
    """
    is_bounded = any(keras.tree.flatten(grows_with_length(model, model.max_seq_length)))
    return model.max_seq_length if is_bounded else sys.maxsize
