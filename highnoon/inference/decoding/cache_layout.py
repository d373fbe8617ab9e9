"""Which arrays of a model's cache have one slot per token, and which contain a state."""

from __future__ import annotations

import sys
from typing import Any

import keras

from highnoon.inference.decoding.compiling import shapes_of
from highnoon.inference.decoding.decoder import decoder_for


def grows_with_length(model: Any, length: int) -> Any:
    """Returns the cache's nested structure with True where an array has one slot per token.

    Such an array rolls back by its index alone: slots after the index are never read before they are
    written again. Any other array is a state, from which a token cannot be removed.

    Args:
        model: A model with `initial_cache`.
        length: The length of the cache.
    """
    known = decoder_for(model).cache_layouts
    if length not in known:
        known[length] = differing_shapes(model, length)
    return known[length]


def differing_shapes(model: Any, length: int) -> Any:
    """Returns what `grows_with_length` does, and does not store it."""
    short = shapes_of(lambda: model.initial_cache(1, length))
    other = shapes_of(lambda: model.initial_cache(1, length + 1))
    if not _same_structure(short, other):  # from `length + 1` on, a mixer stores something else
        other = shapes_of(lambda: model.initial_cache(1, length - 1))
    return keras.tree.map_structure(lambda a, b: a.dims != b.dims, short, other)


def _same_structure(one: Any, other: Any) -> bool:
    try:
        keras.tree.assert_same_structure(one, other)
    except ValueError:
        return False
    return True


def holds_state(model: Any, length: int) -> bool:
    """Whether some array of the cache cannot roll back by its index alone."""
    return not all(keras.tree.flatten(grows_with_length(model, length)))


def context_limit(model: Any) -> int:
    """Returns the most tokens that a sequence may have: `max_seq_length`, or `sys.maxsize` where no array of
    the cache grows with the sequence: a recurrent model has no length limit.
    """
    is_bounded = any(keras.tree.flatten(grows_with_length(model, model.max_seq_length)))
    return model.max_seq_length if is_bounded else sys.maxsize
