"""The distributions of a memory and of a document's earlier tokens, in a compiled function."""

from __future__ import annotations

from typing import Any

from keras import ops

_FAR = -1e30


def neighbor_probs(
    states: Any,
    keys: Any,
    key_squares: Any,
    values: Any,
    num_neighbors: int,
    temperature: float,
    vocab_size: int,
    is_hidden: Any = None,
) -> tuple[Any, Any]:
    """Returns the distribution of the nearest keys of each state, and whether it has any.

    Args:
        states: (b, t, d) float32.
        keys: (m, d).
        key_squares: (m,) the sums of their squares.
        values: (m,) int32, the token after each.
        num_neighbors: Keys of each state.
        temperature: Divides the mean squared distances.
        vocab_size: Tokens, v.
        is_hidden: (b * t, m) bool, which keys a state must not find; None hides none.

    Returns:
        (b, t, v), zeros where there is no neighbor, and bool (b, t, 1).
    """
    flat = ops.reshape(states, (-1, states.shape[-1]))
    # The square of a state is the same for all keys.
    scores = 2.0 * ops.matmul(flat, ops.transpose(keys)) - key_squares
    scores = scores if is_hidden is None else ops.where(is_hidden, _FAR, scores)
    best, nearest = ops.top_k(scores, min(num_neighbors, keys.shape[0]))
    distances = ops.mean(ops.square(flat[:, None] - ops.take(keys, nearest, axis=0)), axis=-1)
    weights = _softmin(distances / temperature, best > _FAR / 2)
    probs = _of_tokens(ops.take(values, nearest, axis=0), weights, vocab_size)
    has_neighbor = ops.any(best > _FAR / 2, axis=-1)
    shape = (-1, states.shape[1])
    return ops.reshape(probs, (*shape, vocab_size)), ops.reshape(has_neighbor, (*shape, 1))


def earlier_probs(
    states: Any, earlier: Any, token_ids: Any, is_earlier: Any, temperature: float, vocab_size: int
) -> tuple[Any, Any]:
    """Returns the distribution of the tokens after earlier states, and whether there are any.

    Args:
        states: (b, t, d) float32.
        earlier: (b, s, d), the states of all slots.
        token_ids: (b, s), their tokens; the one after a state is that of the next slot.
        is_earlier: (b, t, s) bool, which slots a state may use.
        temperature: Divides the mean squared distances.
        vocab_size: Tokens, v.

    Returns:
        (b, t, v), zeros where there is no earlier state, and bool (b, t, 1).
    """
    length, width = earlier.shape[1:]
    squares = ops.sum(ops.square(earlier), axis=-1)[:, None]
    products = ops.einsum("btd,bsd->bts", states, earlier)
    own = ops.sum(ops.square(states), axis=-1)[:, :, None]
    distances = ops.maximum(own + squares - 2.0 * products, 0.0) / width
    is_earlier = ops.broadcast_to(is_earlier, ops.shape(distances))
    weights = _softmin(distances / temperature, is_earlier)
    following = ops.broadcast_to(ops.roll(token_ids, -1, axis=1)[:, None], ops.shape(distances))
    probs = _of_tokens(ops.reshape(following, (-1, length)), ops.reshape(weights, (-1, length)), vocab_size)
    probs = ops.reshape(probs, (-1, states.shape[1], vocab_size))
    return probs, ops.any(is_earlier, axis=-1, keepdims=True)


def _softmin(distances: Any, is_there: Any) -> Any:
    """`softmax(-distances)` over those that are there; zeros where none is."""
    weights = ops.softmax(ops.where(is_there, -distances, _FAR), axis=-1)
    return ops.where(is_there, weights, 0.0)


def _of_tokens(token_ids: Any, weights: Any, vocab_size: int) -> Any:
    """Adds the weights (n, k) of tokens (n, k) to (n, v)."""
    num_states, num_weights = ops.shape(token_ids)
    rows = ops.repeat(ops.arange(num_states, dtype="int32"), num_weights)
    positions = ops.stack((rows, ops.reshape(token_ids, (-1,))), axis=-1)
    return ops.scatter(positions, ops.reshape(weights, (-1,)), (num_states, vocab_size))
