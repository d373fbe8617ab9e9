"""Softmax attention with grouped heads, in chunks of targets whose memory is linear in the length."""

from __future__ import annotations

from keras import ops

from highnoon.layers.experts.ordering import after, zero_from

_MASKED = -1e30
_KEPT_LENGTH = 1024  # up to here the backward pass finds the forward pass's weights kept
_SHORT_CHUNK, _LONG_CHUNK = 128, 512


def causal_attention(
    query, key, value, segment_ids=None, chunk_length: int | None = None, window: int | None = None
):
    """Causal attention of a sequence over itself, with memory linear in its length.

    ```
    a[b,g,r,t,s] = softmax_s(query[b,t,g,r,:] . key[b,s,g,:] / sqrt(k))   for the s that t sees
    out[b,t,g,r,:] = sum_s a[b,g,r,t,s] value[b,s,g,:]
    ```

    Targets are taken in chunks, each against the sources that it may see and no others. Above
    1,024 places the backward pass makes a chunk's weights again from the saved log-sum-exp, so that
    the weights held at one time are (b, h, chunk_length, s).

    Args:
        query: (b, t, g, r, k), r query heads for each of g key heads.
        key: (b, t, g, k).
        value: (b, t, g, v).
        segment_ids: (b, t) whole numbers; nothing passes between different ones.
        chunk_length: Targets in one chunk, at least 1; None takes a sixteenth of the length, but
            128 to 512. A length that is unknown when the graph is made is not cut.
        window: How many sources, the target among them, a target sees; None for all before it.

    Returns: (b, t, g, r, v).

    Dao 2023, FlashAttention-2 (arXiv:2307.08691), section 3.1, in chunks of targets alone.
    """
    length = query.shape[1]
    query, key, value = _heads_first(query, key, value)
    if length is None:
        places = ops.arange(ops.shape(key)[2])
        output = _attend(query, key, value, _mask(places, places, segment_ids, segment_ids, window))
    else:
        plan = _Chunks(length, chunk_length or _chunk_length(length), window, segment_ids)
        output = _with_gradient(plan)(query, key, value)
    return _heads_last(output)


def cached_attention(
    query, key, value, index, first, chunk_length: int | None = None, window: int | None = None
):
    """Attention of new tokens over a cache that holds them and what came before.

    Args:
        query: (b, t, g, r, k), the tokens at places index .. index+t-1 of the cache.
        key: (b, g, s, k), the whole cache, heads first: a product for one token then reads it as it lies.
        value: (b, g, s, v).
        index: Place of the first new token, a scalar.
        first: (b,) place of each row's first real token; None for 0.
        chunk_length: Targets in one chunk; None for 512.
        window: How many sources, the target among them, a target sees; None for all before it.

    Returns: (b, t, g, r, v).
    """
    length, size = query.shape[1], chunk_length or _LONG_CHUNK
    query = _scaled(query)
    outputs = []
    for start in range(0, length, size):
        chunk = query[:, :, :, start : start + size]
        chunk = after(chunk, outputs[-1]) if outputs else chunk
        places = index + start + ops.arange(chunk.shape[3])
        keys, values, low = _within_reach(key, value, index + start, chunk.shape[3], window)
        sources = low + ops.arange(keys.shape[2])
        mask = _sees(places, sources, window)
        if first is not None:
            mask = mask[None] & (sources[None, :] >= first[:, None])[:, None, :]
        outputs.append(_attend(chunk, keys, values, mask))
    return _heads_last(outputs[0] if len(outputs) == 1 else ops.concatenate(outputs, axis=3))


def _heads_first(query, key, value):
    """Scaled query (b, g, r, t, k), key (b, g, s, k) and value (b, g, s, v): contiguous for products."""
    return _scaled(query), ops.swapaxes(key, 1, 2), ops.swapaxes(value, 1, 2)


def _scaled(query):
    return ops.transpose(query, (0, 2, 3, 1, 4)) * ops.cast(query.shape[-1] ** -0.5, query.dtype)


def _heads_last(output):
    return ops.transpose(output, (0, 3, 1, 2, 4))


def _chunk_length(length: int) -> int:
    return min(max(-(-length // 16), _SHORT_CHUNK), _LONG_CHUNK)


class _Chunks:
    """Which targets each chunk holds, and which sources they see.

    Chunk i holds targets starts[i] .. ends[i]-1; the first source that any of them sees is lows[i].
    """

    def __init__(self, length: int, chunk_length: int, window: int | None, segment_ids) -> None:
        self.starts = list(range(0, length, chunk_length))
        self.ends = [*self.starts[1:], length]
        self.lows = [0 if window is None else max(0, start - window + 1) for start in self.starts]
        self.keeps_weights = length <= _KEPT_LENGTH
        self._window = window
        self._segment_ids = segment_ids

    def __len__(self) -> int:
        return len(self.starts)

    def targets(self, x, i: int):
        """Those of x (b, g, r, t, ..)."""
        return x[:, :, :, self.starts[i] : self.ends[i]]

    def targets_last(self, x, i: int):
        """Those of x (b, g, m, r, t)."""
        return x[..., self.starts[i] : self.ends[i]]

    def sources(self, x, i: int):
        """Those of x (b, g, s, ..)."""
        return x[:, :, self.lows[i] : self.ends[i]]

    def mask(self, i: int, zero):
        """bool (t, s), or (b, t, s) with segments; a `zero` from `zero_from` keeps it out of the binary."""
        start, end, low = self.starts[i], self.ends[i], self.lows[i]
        ids = self._segment_ids
        targets, sources = (None, None) if ids is None else (ids[:, start:end], ids[:, low:end])
        return _mask(zero + ops.arange(start, end), ops.arange(low, end), targets, sources, self._window)


def _mask(targets, sources, target_segments, source_segments, window: int | None):
    mask = _sees(targets, sources, window)
    if target_segments is None:
        return mask
    return mask & (target_segments[:, :, None] == source_segments[:, None, :])


def _sees(targets, sources, window: int | None):
    """bool (t, s): sources not later than the target, and among its last `window`."""
    mask = targets[:, None] >= sources[None, :]
    return mask if window is None else mask & (targets[:, None] - sources[None, :] < window)


def _with_gradient(plan: _Chunks):
    """Attention over the plan's chunks, as a function of (query, key, value) with its own gradient."""

    @ops.custom_gradient
    def attention(query, key, value):
        outputs, kept = [], []
        zero = ops.cast(zero_from(query), "int32")
        for i in range(len(plan)):
            chunk = plan.targets(query, i)
            chunk = after(chunk, outputs[-1]) if outputs else chunk
            keys, values = plan.sources(key, i), plan.sources(value, i)
            weights, total, peak = _weights(chunk, keys, plan.mask(i, zero))
            outputs.append(_mean(weights, total, values))
            kept.append((weights, total) if plan.keeps_weights else peak + ops.log(total))

        def gradient(*upstreams, upstream=None):
            if upstream is None:
                (upstream,) = upstreams
            output = ops.concatenate(outputs, axis=3)
            if plan.keeps_weights:
                total = ops.concatenate([total for _, total in kept], axis=3)
                upstream = upstream / ops.cast(total, upstream.dtype)
            balance = ops.cast(upstream, "float32") * ops.cast(output, "float32")
            balance = ops.sum(balance, axis=-1, keepdims=True)
            # Products that sum over targets are twice as fast on CPU with the targets last on their left.
            query_last, upstream_last = _targets_last(query), _targets_last(upstream)
            by_query, by_key, by_value = [], _Tails(plan), _Tails(plan)
            # From the last chunk to the first: beyond a chunk's end the sums are already complete.
            for i in reversed(range(len(plan))):
                chunk, keys, values = plan.targets(query, i), plan.sources(key, i), plan.sources(value, i)
                by_output = plan.targets(upstream, i)
                for earlier in (by_query[-1], by_key.last, by_value.last) if by_query else ():
                    chunk, by_output = after(chunk, earlier), after(by_output, earlier)
                if plan.keeps_weights:
                    weights = kept[i][0]
                else:
                    weights = ops.exp(_scores(chunk, keys, plan.mask(i, zero)) - kept[i])
                by_weights = _times(by_output, ops.swapaxes(values, 2, 3))
                by_scores = weights * (ops.cast(by_weights, "float32") - plan.targets(balance, i))
                by_scores = ops.cast(by_scores, query.dtype)
                by_query.append(_times(by_scores, keys))
                by_key.add(i, _sum_over_targets(plan.targets_last(query_last, i), by_scores))
                weights = ops.cast(weights, value.dtype)
                by_value.add(i, _sum_over_targets(plan.targets_last(upstream_last, i), weights))
            return (
                ops.concatenate(by_query[::-1], axis=3),
                ops.cast(by_key.whole(), key.dtype),
                ops.cast(by_value.whole(), value.dtype),
            )

        return ops.concatenate(outputs, axis=3), gradient

    return attention


class _Tails:
    """Sums gradients (b, g, m, s) of chunks that come from the last to the first."""

    def __init__(self, plan: _Chunks) -> None:
        self._plan = plan
        self._done: list = []  # from the end of the sequence backwards, in float32
        self._open = None  # the sum for sources that earlier chunks see too

    @property
    def last(self):
        """What was added last."""
        return self._done[-1]

    def add(self, i: int, part) -> None:
        """Adds chunk i's part, over the sources from lows[i] to ends[i]."""
        low, start = self._plan.lows[i], self._plan.starts[i]
        part = ops.cast(part, "float32")
        if self._open is not None:
            ahead = self._plan.lows[i + 1] - low  # sources that no later chunk has seen
            part = part + (ops.pad(self._open, ((0, 0), (0, 0), (0, 0), (ahead, 0))) if ahead else self._open)
        self._done.append(part[..., start - low :])
        self._open = part[..., : start - low]

    def whole(self):
        """The sums over all chunks, (b, g, s, m)."""
        return ops.swapaxes(ops.concatenate(self._done[::-1], axis=3), 2, 3)


def _attend(query, key, value, mask):
    """Output (b, g, r, t, v)."""
    weights, total, _ = _weights(query, key, mask)
    return _mean(weights, total, value)


def _weights(query, key, mask):
    """exp(score - peak) in float32 (b, g, r, t, s), their sums and the peaks (b, g, r, t, 1)."""
    scores = _scores(query, key, mask)
    peak = ops.stop_gradient(ops.max(scores, axis=-1, keepdims=True))
    weights = ops.exp(scores - peak)
    return weights, ops.sum(weights, axis=-1, keepdims=True), peak


def _scores(query, key, mask):
    """float32; a target that sees no source gives all the same weight."""
    scores = ops.cast(_times(query, ops.swapaxes(key, 2, 3)), "float32")
    return ops.where(mask[..., None, None, :, :], scores, _MASKED)


def _mean(weights, total, value):
    mean = _times(ops.cast(weights, value.dtype), value)
    return ops.cast(ops.cast(mean, "float32") / total, value.dtype)


def _times(x, y):
    """(b, g, r, t, m) times (b, g, m, n), as one product a group: (b, g, r, t, n)."""
    return _as_heads(ops.matmul(_as_rows(x), y), x)


def _targets_last(x):
    """(b, g, r, t, m) to (b, g, m, r, t)."""
    return ops.transpose(x, (0, 1, 4, 2, 3))


def _sum_over_targets(x, y):
    """(b, g, m, r, t) and (b, g, r, t, n) to (b, g, m, n)."""
    return ops.matmul(ops.reshape(x, (*ops.shape(x)[:3], -1)), _as_rows(y))


def _as_rows(x):
    """(b, g, r, t, m) to (b, g, r t, m)."""
    batch, groups, _, _, size = ops.shape(x)
    return ops.reshape(x, (batch, groups, -1, size))


def _as_heads(x, like):
    """(b, g, r t, m) to (b, g, r, t, m), as in `like`."""
    return ops.reshape(x, (*ops.shape(like)[:4], ops.shape(x)[-1]))


def _within_reach(key, value, index, num_targets: int, window: int | None):
    """The part of a cache (b, g, s, ..) that targets from `index` on may see, and where it begins."""
    room = key.shape[2]
    size = room if window is None else min(room, window + num_targets - 1)
    if size == room:
        return key, value, 0
    low = ops.clip(index + num_targets - size, 0, room - size)
    start, shape = [0, 0, low, 0], (*ops.shape(key)[:2], size, key.shape[3])
    return ops.slice(key, start, shape), ops.slice(value, start, (*shape[:3], value.shape[3])), low
