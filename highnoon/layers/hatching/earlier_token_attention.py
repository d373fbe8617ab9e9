"""Linear attention of each token to earlier tokens, without itself: quadratic, in chunks, or with a state."""

from __future__ import annotations

import math

from keras import ops

from highnoon.layers.recurrence.chunks import from_chunks, to_chunks
from highnoon.layers.recurrence.loop_over_time import loop_over_time


def earlier_token_attention(
    query, key, value, counts=None, chunk_length: int | None = None, decay: float = 1.0
):
    """Sums the values of earlier tokens, each times the product of its key with the query.

    ```
    y[t] = sum over s < t in the same segment of decay^(t-1-s) (query[t] . key[s]) value[s]
    ```

    There is no softmax, no scale and no normalizer, and the token itself is left out, so that the first token
    of a segment gets zeros. Without `chunk_length` all products are computed, in time quadratic in the
    length. With it, each chunk passes a state of keys and values to the next, in linear time; its gradient
    runs the same recurrence again, so that no state is stored. Both have the same result.

    Args:
        query: (b, h, t, n) float32.
        key: (b, h or 1, t, n) float32.
        value: (b, h or 1, t, m) float32.
        counts: (b, t) of `count_restarts`; None for one segment.
        chunk_length: Positions in one chunk; None computes all products at once.
        decay: What is left of a key after a further token, in (0, 1].

    Returns:
        (b, h, t, m) float32.

    Katharopoulos et al. 2020, Transformers are RNNs (arXiv:2006.16236), section 3.3, without its
    feature map and normalizer.
    """
    if chunk_length is None:
        return _all_products(query, key, value, counts, decay)

    @ops.custom_gradient
    def attend(query, key, value):
        def gradient(grad):
            grad_query = _in_chunks(grad, value, key, counts, chunk_length, decay)
            # What is read from a position comes from later ones: the same sums with time reversed.
            back = [_reversed(tensor) for tensor in (query, key, value, grad)]
            later = None if counts is None else counts[:, ::-1]
            grad_key = _reversed(_in_chunks(back[2], back[3], back[0], later, chunk_length, decay))
            grad_value = _reversed(_in_chunks(back[1], back[0], back[3], later, chunk_length, decay))
            return grad_query, _summed(grad_key, key), _summed(grad_value, value)

        return _in_chunks(query, key, value, counts, chunk_length, decay), gradient

    return attend(query, key, value)


def attend_with_state(query, key, value, state, chunk_length: int, decay: float = 1.0):
    """Continues from a state with new tokens.

    ```
    y[t]      = state[t-1]^T query[t]
    state[t]  = decay state[t-1] + key[t] value[t]^T
    ```

    Args:
        query: (b, h, t, n) float32.
        key: (b, h, t, n) float32; a key of zeros leaves the state as it is.
        value: (b, 1, t, m) float32.
        state: (b, h, n, m) float32, before the first token.
        chunk_length: Positions in one chunk.
        decay: What is left of the state after a token, in (0, 1].

    Returns:
        y (b, h, t, m), and the state after the last token.
    """
    time = query.shape[2]
    if time == 1:
        kept = state if decay == 1.0 else decay * state
        return query @ state, kept + ops.swapaxes(key, 2, 3) * value
    if time <= chunk_length:
        reads, writes, left = _faded(query, key, time, decay)
        y = _all_products(query, key, value, None, decay) + reads @ state
        return y, left * state + ops.swapaxes(writes, 2, 3) @ value
    rest = time % chunk_length
    if rest and decay != 1.0:  # a chunk that is filled up would let the state decay further
        parts = [(tensor[:, :, :-rest], tensor[:, :, -rest:]) for tensor in (query, key, value)]
        first, state = _chunk_loop(*(part[0] for part in parts), None, state, chunk_length, decay)
        last, state = attend_with_state(*(part[1] for part in parts), state, chunk_length, decay)
        return ops.concatenate([first, last], axis=2), state
    return _chunk_loop(query, key, value, None, state, chunk_length, decay)


def _all_products(query, key, value, counts, decay: float):
    time = query.shape[2] if query.shape[2] is not None else ops.shape(query)[2]
    positions = ops.arange(time)
    mask = positions[:, None] > positions[None, :]
    if counts is not None:
        mask = mask & (counts[:, None, :, None] == counts[:, None, None, :])
    products = query @ ops.swapaxes(key, 2, 3)
    if decay != 1.0:
        products = products * _decay_between(positions, decay)
    return ops.where(mask, products, 0.0) @ value


def _decay_between(positions, decay: float):
    """decay^(t-1-s), (t, s), of positions (t,); 1 where s is not earlier than t."""
    gap = ops.cast(positions[:, None] - 1 - positions[None, :], "float32")
    return ops.exp(math.log(decay) * ops.maximum(gap, 0.0))


def _faded(query, key, time, decay: float):
    """Queries times what is left of the state that they read, keys times what is left of them at the end, and
    what is left of the state."""
    if decay == 1.0:
        return query, key, 1.0
    left = ops.exp(math.log(decay) * ops.arange(time, dtype="float32"))[:, None]
    return query * left, key * ops.flip(left, axis=0), decay**time


def _in_chunks(query, key, value, counts, chunk_length: int, decay: float):
    heads = max(tensor.shape[1] for tensor in (query, key, value))
    shape = (ops.shape(query)[0], heads, key.shape[3], value.shape[3])
    return _chunk_loop(query, key, value, counts, ops.zeros(shape, "float32"), chunk_length, decay)[0]


def _chunk_loop(query, key, value, counts, state, chunk_length: int, decay: float):
    """Returns y and the last state; `state` has the heads of all three, each of which may have one."""
    time = query.shape[2] if query.shape[2] is not None else ops.shape(query)[2]
    heads = state.shape[1]
    query, key, value = (_chunks_of_heads(tensor, chunk_length) for tensor in (query, key, value))
    positions = ops.arange(chunk_length)
    earlier = positions[:, None] > positions[None, :]
    inputs = [query, key, value]
    if counts is not None:
        counts = to_chunks(counts, chunk_length, repeat_last=True)  # (c, b, l)
        before = ops.concatenate([ops.zeros_like(counts[:1, :, -1]), counts[:-1, :, -1]], axis=0)
        inputs += [counts, before]

    def advance(carried, inputs):
        (state,), (query, key, value, *segments) = carried, inputs
        mask = earlier
        reads, writes, left = _faded(query, key, chunk_length, decay)
        kept = left * state
        if segments:
            counts, before = segments
            mask = mask & (counts[:, None, :, None] == counts[:, None, None, :])
            reads = ops.where((counts == before[:, None])[:, None, :, None], reads, 0.0)
            writes = ops.where((counts == counts[:, -1:])[:, None, :, None], writes, 0.0)
            kept = ops.where((counts[:, -1] == before)[:, None, None, None], kept, 0.0)
        products = query @ ops.swapaxes(key, 2, 3)
        if decay != 1.0:
            products = products * _decay_between(positions, decay)
        products = ops.where(mask, products, 0.0)
        y = products @ value + reads @ state
        return (kept + ops.swapaxes(writes, 2, 3) @ value,), (y,)

    like = ops.zeros((ops.shape(query)[1], heads, chunk_length, value.shape[-1]), "float32")
    (state,), (y,) = loop_over_time(advance, (state,), tuple(inputs), (like,))
    return ops.swapaxes(from_chunks(ops.swapaxes(y, 2, 3), time), 1, 2), state


def _chunks_of_heads(x, chunk_length: int):
    """Cuts (b, h, t, n) into (c, b, h, l, n)."""
    return ops.swapaxes(to_chunks(ops.swapaxes(x, 1, 2), chunk_length), 2, 3)


def _reversed(x):
    return ops.flip(x, axis=2)


def _summed(grad, like):
    """Sums a gradient over the heads that share the tensor."""
    return ops.sum(grad, axis=1, keepdims=True) if like.shape[1] == 1 != grad.shape[1] else grad
