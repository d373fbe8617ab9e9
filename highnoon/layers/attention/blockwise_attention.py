"""Softmax attention with grouped heads, in chunks of queries, with memory linear in the length."""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import ops

from highnoon.layers.attention.block_mask import BlockStep, cached_mask, may_see
from highnoon.layers.experts.ordering import after, zero_from

_MASKED = -1e30
_LONGEST_KEPT = 1024  # up to this length the forward pass keeps its weights for the backward pass
_SHORT_CHUNK, _LONG_CHUNK = 128, 512


def causal_attention(
    query,
    key,
    value,
    segment_ids=None,
    chunk_length: int | None = None,
    window: int | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    block_ids=None,
    positions=None,
):
    """Causal self-attention of a sequence, with memory linear in its length.

    ```
    a[b,g,r,t,s] = softmax_s(query[b,t,g,r,:] . key[b,s,g,:] * scale)     for the s that t may attend to
    out[b,t,g,r,:] = sum_s a[b,g,r,t,s] value[b,s,g,:]
    ```

    Works on chunks of queries, each with only the keys that it may attend to. Above 1,024 positions the
    backward pass recomputes a chunk's weights from the saved log-sum-exp, so that the weights in memory at
    one time are (b, h, chunk_length, s).

    Args:
        query: (b, t, g, r, k), r query heads for each of g key heads.
        key: (b, t, g, k).
        value: (b, t, g, v).
        segment_ids: (b, t) integers; a query attends to no key with a different one.
        chunk_length: Queries in one chunk, at least 1; None takes a sixteenth of the length, but
            128 to 512. A length that is unknown when the graph is made is not cut.
        window: How many keys, that of its own position included, a query attends to; None for all before it.
        scale: Factor on the scores; None takes 1 / sqrt(k).
        softcap: c of `c * tanh(score / c)`, which replaces a score before the softmax; None for no cap.
        block_ids: (b, t) of `highnoon.layers.attention.block_mask.block_ids`, whose `may_see` decides which
            keys a query attends to, in place of their order; None for causal attention.
        positions: (t,) or (b, t) positions in the document, by which `window` counts with `block_ids`.

    Returns:
        (b, t, g, r, v).

    Dao 2023, FlashAttention-2 (arXiv:2307.08691), section 3.1, in chunks of queries alone.
    """
    length = query.shape[1]
    query, key, value = _heads_first(query, key, value, scale)
    blocks = None if block_ids is None else _Blocks(block_ids, positions)
    if length is None:
        slots = ops.arange(ops.shape(key)[2])
        if blocks is None:
            mask = _may_attend(slots, slots, window)
        else:
            mask = blocks.mask(slice(None), window, 0)
        output = _attend(query, key, value, _within_segments(mask, segment_ids, segment_ids), softcap)
    else:
        chunks = _Chunks(length, chunk_length or _chunk_length(length), window, segment_ids, softcap, blocks)
        output = _chunked_attention(chunks)(query, key, value)
    return _heads_last(output)


def cached_attention(
    query,
    key,
    value,
    index,
    first,
    chunk_length: int | None = None,
    window: int | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    blocks: BlockStep | None = None,
):
    """Attention of new tokens over a cache that contains them and the tokens before.

    Args:
        query: (b, t, g, r, k), the tokens at positions index .. index+t-1 of the cache.
        key: (b, g, s, k), the complete cache, heads first, so that a product for one token needs no copy.
        value: (b, g, s, v).
        index: Position of the first new token, a scalar.
        first: (b,) position of each row's first real token; None for 0.
        chunk_length: Queries in one chunk; None for 512.
        window: How many keys, that of its own position included, a query attends to; None for all before it.
        scale: As in `causal_attention`.
        softcap: As in `causal_attention`.
        blocks: How tokens are decoded in blocks; the keys and values of a noisy copy follow those of the
            cache. None for causal attention.

    Returns:
        (b, t, g, r, v).
    """
    length, size = query.shape[1], chunk_length or _LONG_CHUNK
    query = _scaled(query, scale)
    outputs = []
    for start in range(0, length, size):
        chunk = query[:, :, :, start : start + size]
        chunk = after(chunk, outputs[-1]) if outputs else chunk
        query_slots = index + start + ops.arange(chunk.shape[3])
        if blocks is not None:
            mask = cached_mask(query_slots, key.shape[2], length, first, index, blocks, window)
            outputs.append(_attend(chunk, key, value, mask, softcap))
            continue
        keys, values, low = _within_reach(key, value, index + start, chunk.shape[3], window)
        key_slots = low + ops.arange(keys.shape[2])
        mask = _may_attend(query_slots, key_slots, window)
        if first is not None:
            mask = mask[None] & (key_slots[None, :] >= first[:, None])[:, None, :]
        outputs.append(_attend(chunk, keys, values, mask, softcap))
    return _heads_last(outputs[0] if len(outputs) == 1 else ops.concatenate(outputs, axis=3))


def _heads_first(query, key, value, scale: float | None):
    """Scaled query (b, g, r, t, k), key (b, g, s, k) and value (b, g, s, v): contiguous for products."""
    return _scaled(query, scale), ops.swapaxes(key, 1, 2), ops.swapaxes(value, 1, 2)


def _scaled(query, scale: float | None):
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    return ops.transpose(query, (0, 2, 3, 1, 4)) * ops.cast(scale, query.dtype)


def _heads_last(output):
    return ops.transpose(output, (0, 3, 1, 2, 4))


def _chunk_length(length: int) -> int:
    return min(max(-(-length // 16), _SHORT_CHUNK), _LONG_CHUNK)


class _Chunks:
    """Which queries each chunk contains, and which keys they may attend to.

    Chunk i contains queries starts[i] .. ends[i]-1; they attend to keys among lows[i] .. highs[i]-1.
    """

    def __init__(
        self,
        length: int,
        chunk_length: int,
        window: int | None,
        segment_ids,
        softcap: float | None,
        blocks: _Blocks | None = None,
    ) -> None:
        self.starts = list(range(0, length, chunk_length))
        self.ends = [*self.starts[1:], length]
        self.lows = [0 if window is None else max(0, start - window + 1) for start in self.starts]
        self.highs = self.ends
        if blocks is not None:  # the order of the keys says nothing
            self.lows, self.highs = [0] * len(self.starts), [length] * len(self.starts)
        self.keeps_weights = length <= _LONGEST_KEPT
        self.softcap = softcap
        self._window = window
        self._segment_ids = segment_ids
        self._blocks = blocks

    @property
    def is_causal(self) -> bool:
        """Whether no query attends to a later key."""
        return self._blocks is None

    def __len__(self) -> int:
        return len(self.starts)

    def queries(self, x, i: int):
        """The queries of chunk i, from x (b, g, r, t, ..)."""
        return x[:, :, :, self.starts[i] : self.ends[i]]

    def queries_last(self, x, i: int):
        """The queries of chunk i, from x (b, g, m, r, t)."""
        return x[..., self.starts[i] : self.ends[i]]

    def keys(self, x, i: int):
        """The keys or values of chunk i, from x (b, g, s, ..)."""
        return x[:, :, self.lows[i] : self.highs[i]]

    def mask(self, i: int, zero):
        """bool (t, s), or (b, t, s) with segments; a `zero` from `zero_from` keeps it out of the binary."""
        queries, keys = slice(self.starts[i], self.ends[i]), slice(self.lows[i], self.highs[i])
        if self._blocks is None:
            query_slots = zero + ops.arange(queries.start, queries.stop)
            mask = _may_attend(query_slots, ops.arange(keys.start, keys.stop), self._window)
        else:
            mask = self._blocks.mask(queries, self._window, zero)
        ids = self._segment_ids
        return mask if ids is None else _within_segments(mask, ids[:, queries], ids[:, keys])


class _Blocks(NamedTuple):
    """The blocks of block diffusion: `block_ids` (b, t), and `positions` (t,) or (b, t) for a window."""

    block_ids: Any
    positions: Any

    def mask(self, queries: slice, window: int | None, zero):
        """bool (b, t, s): which of all keys the queries attend to."""
        ids = self.block_ids
        mask = may_see(zero + ids[:, queries, None], ids[:, None, :])
        if window is None:
            return mask
        positions = self.positions if len(self.positions.shape) == 2 else self.positions[None]
        return mask & (positions[:, queries, None] - positions[:, None, :] < window)


def _within_segments(mask, query_segments, key_segments):
    """The mask, False between different segments; without segments the mask itself."""
    if query_segments is None:
        return mask
    return mask & (query_segments[:, :, None] == key_segments[:, None, :])


def _may_attend(query_slots, key_slots, window: int | None):
    """bool (t, s): keys not after the query, and among its last `window`."""
    mask = query_slots[:, None] >= key_slots[None, :]
    if window is None:
        return mask
    return mask & (query_slots[:, None] - key_slots[None, :] < window)


def _chunked_attention(chunks: _Chunks):
    """Returns attention over chunks as a function of (query, key, value) with `_backward` as its gradient."""

    @ops.custom_gradient
    def attention(query, key, value):
        forward = _forward(chunks, query, key, value)

        def gradient(*upstreams, upstream=None):
            # Backends pass it by position or by name.
            (grad_output,) = upstreams if upstream is None else (upstream,)
            return _backward(chunks, forward, (query, key, value), grad_output)

        return forward.output, gradient

    return attention


class _Forward(NamedTuple):
    """The output, and what the backward pass needs of each chunk.

    Args:
        output: (b, g, r, t, v).
        weights: (b, g, r, t, s) of each chunk, `exp(score - max)`; empty where they are recomputed.
        totals: (b, g, r, t, 1) of each chunk, the sums of the weights; empty where they are recomputed.
        log_sum_exps: (b, g, r, t, 1) of each chunk, of the scores; empty where the weights are kept.
    """

    output: Any
    weights: list[Any]
    totals: list[Any]
    log_sum_exps: list[Any]


def _forward(chunks: _Chunks, query, key, value) -> _Forward:
    """Attention, chunk by chunk of queries.

    ```
    S = query key^T,   W = exp(S - max(S)),   P = W / sum(W),   output = P value
    ```

    Args:
        chunks: The chunks.
        query: (b, g, r, t, k), scaled.
        key: (b, g, s, k).
        value: (b, g, s, v).
    """
    outputs: list[Any] = []
    weights, totals, log_sum_exps = [], [], []
    zero = ops.cast(zero_from(query), "int32")
    for i in range(len(chunks)):
        queries = chunks.queries(query, i)
        queries = after(queries, outputs[-1]) if outputs else queries
        keys, values = chunks.keys(key, i), chunks.keys(value, i)
        chunk_weights, total, max_score = _weights(queries, keys, chunks.mask(i, zero), chunks.softcap)
        outputs.append(_weighted_sum(chunk_weights, total, values))
        if chunks.keeps_weights:
            weights.append(chunk_weights)
            totals.append(total)
        else:
            log_sum_exps.append(max_score + ops.log(total))
    return _Forward(ops.concatenate(outputs, axis=3), weights, totals, log_sum_exps)


def _backward(chunks: _Chunks, forward: _Forward, inputs, grad_output):
    """Gradients with respect to query, key and value, from the last chunk to the first.

    ```
    grad_value = P^T grad_output
    grad_P     = grad_output value^T
    D          = sum_v(grad_output * output)           one number a query, equal to sum_s(P * grad_P)
    grad_S     = P * (grad_P - D)                      times 1 - tanh(S / softcap)^2 where there is one
    grad_query = grad_S key
    grad_key   = grad_S^T query
    ```

    If the forward pass kept W, it replaces P, and `grad_output / sum(W)` replaces `grad_output`.

    Args:
        chunks: The chunks.
        forward: What the forward pass saved.
        inputs: (query, key, value) of the forward pass.
        grad_output: (b, g, r, t, v).

    Returns:
        The three gradients, in the shapes of `inputs`.
    """
    query, key, value = inputs
    if chunks.keeps_weights:
        totals = ops.concatenate(forward.totals, axis=3)
        grad_output = grad_output / ops.cast(totals, grad_output.dtype)
    row_dots = ops.cast(grad_output, "float32") * ops.cast(forward.output, "float32")
    row_dots = ops.sum(row_dots, axis=-1, keepdims=True)
    # Products that sum over queries are twice as fast on CPU with the queries last on their left.
    query_last, grad_output_last = _queries_last(query), _queries_last(grad_output)
    zero = ops.cast(zero_from(query), "int32")
    sums = _KeySums if chunks.is_causal else _AllKeySums
    grad_queries, grad_key, grad_value = [], sums(chunks), sums(chunks)
    # From the last chunk to the first: beyond a chunk's end the sums over queries are already complete.
    for i in reversed(range(len(chunks))):
        queries, keys, values = chunks.queries(query, i), chunks.keys(key, i), chunks.keys(value, i)
        grad_outputs = chunks.queries(grad_output, i)
        for earlier in (grad_queries[-1], grad_key.last, grad_value.last) if grad_queries else ():
            queries, grad_outputs = after(queries, earlier), after(grad_outputs, earlier)
        if chunks.keeps_weights:
            weights = forward.weights[i]
        else:
            scores = _scores(queries, keys, chunks.mask(i, zero), chunks.softcap)
            weights = ops.exp(scores - forward.log_sum_exps[i])
        grad_weights = _matmul(grad_outputs, ops.swapaxes(values, 2, 3))
        grad_scores = weights * (ops.cast(grad_weights, "float32") - chunks.queries(row_dots, i))
        if chunks.softcap is not None:
            grad_scores = grad_scores * _cap_slope(queries, keys, chunks.softcap)
        grad_scores = ops.cast(grad_scores, query.dtype)
        grad_queries.append(_matmul(grad_scores, keys))
        grad_key.add(i, _sum_over_queries(chunks.queries_last(query_last, i), grad_scores))
        weights = ops.cast(weights, value.dtype)
        grad_value.add(i, _sum_over_queries(chunks.queries_last(grad_output_last, i), weights))
    return (
        ops.concatenate(grad_queries[::-1], axis=3),
        ops.cast(grad_key.total(), key.dtype),
        ops.cast(grad_value.total(), value.dtype),
    )


class _KeySums:
    """Sums gradients (b, g, m, s) with respect to keys, of chunks that come from the last to the first."""

    def __init__(self, chunks: _Chunks) -> None:
        self._chunks = chunks
        self._complete: list = []  # from the end of the sequence backwards, in float32
        self._open = None  # the sum for keys to which earlier chunks attend too

    @property
    def last(self):
        """What was added last."""
        return self._complete[-1]

    def add(self, i: int, part) -> None:
        """Adds chunk i's part, over the keys from lows[i] to ends[i]."""
        low, start = self._chunks.lows[i], self._chunks.starts[i]
        part = ops.cast(part, "float32")
        if self._open is not None:
            ahead = self._chunks.lows[i + 1] - low  # keys to which no later chunk attends
            part = part + (ops.pad(self._open, ((0, 0), (0, 0), (0, 0), (ahead, 0))) if ahead else self._open)
        self._complete.append(part[..., start - low :])
        self._open = part[..., : start - low]

    def total(self):
        """The sums over all chunks, (b, g, s, m)."""
        return ops.swapaxes(ops.concatenate(self._complete[::-1], axis=3), 2, 3)


class _AllKeySums:
    """`_KeySums` of chunks that all reach every key."""

    def __init__(self, chunks: _Chunks) -> None:
        self.last: Any = None

    def add(self, i: int, part) -> None:
        """Adds chunk i's part, over all keys."""
        part = ops.cast(part, "float32")
        self.last = part if self.last is None else self.last + part

    def total(self):
        """The sums over all chunks, (b, g, s, m)."""
        return ops.swapaxes(self.last, 2, 3)


def _attend(query, key, value, mask, softcap: float | None):
    """Output (b, g, r, t, v)."""
    weights, total, _ = _weights(query, key, mask, softcap)
    return _weighted_sum(weights, total, value)


def _weights(query, key, mask, softcap: float | None):
    """exp(score - max) in float32 (b, g, r, t, s), their sums and the maxima (b, g, r, t, 1)."""
    scores = _scores(query, key, mask, softcap)
    max_score = ops.stop_gradient(ops.max(scores, axis=-1, keepdims=True))
    weights = ops.exp(scores - max_score)
    return weights, ops.sum(weights, axis=-1, keepdims=True), max_score


def _scores(query, key, mask, softcap: float | None):
    """float32 (b, g, r, t, s); a query without any key gives all the same weight."""
    scores = ops.cast(_matmul(query, ops.swapaxes(key, 2, 3)), "float32")
    if softcap is not None:
        scores = softcap * ops.tanh(scores / softcap)
    return ops.where(mask[..., None, None, :, :], scores, _MASKED)


def _cap_slope(query, key, softcap: float):
    """The derivative of `softcap * tanh(score / softcap)` with respect to the score, float32."""
    scores = ops.cast(_matmul(query, ops.swapaxes(key, 2, 3)), "float32")
    return 1.0 - ops.square(ops.tanh(scores / softcap))


def _weighted_sum(weights, total, value):
    weighted = _matmul(ops.cast(weights, value.dtype), value)
    return ops.cast(ops.cast(weighted, "float32") / total, value.dtype)


def _matmul(x, y):
    """(b, g, r, t, m) times (b, g, m, n), as one product a group: (b, g, r, t, n)."""
    return _as_heads(ops.matmul(_as_rows(x), y), x)


def _queries_last(x):
    """(b, g, r, t, m) to (b, g, m, r, t)."""
    return ops.transpose(x, (0, 1, 4, 2, 3))


def _sum_over_queries(x, y):
    """(b, g, m, r, t) and (b, g, r, t, n) to (b, g, m, n)."""
    return ops.matmul(ops.reshape(x, (*ops.shape(x)[:3], -1)), _as_rows(y))


def _as_rows(x):
    """(b, g, r, t, m) to (b, g, r t, m)."""
    batch, groups, _, _, size = ops.shape(x)
    return ops.reshape(x, (batch, groups, -1, size))


def _as_heads(x, like):
    """(b, g, r t, m) to (b, g, r, t, m), as in `like`."""
    return ops.reshape(x, (*ops.shape(like)[:4], ops.shape(x)[-1]))


def _within_reach(key, value, index, num_queries: int, window: int | None):
    """The part of a cache (b, g, s, ..) to which queries from `index` on may attend, and its first slot."""
    length = key.shape[2]
    size = length if window is None else min(length, window + num_queries - 1)
    if size == length:
        return key, value, 0
    low = ops.clip(index + num_queries - size, 0, length - size)
    start, shape = [0, 0, low, 0], (*ops.shape(key)[:2], size, key.shape[3])
    return ops.slice(key, start, shape), ops.slice(value, start, (*shape[:3], value.shape[3])), low
