"""Softmax attention with grouped heads, whole or in query chunks of linear memory."""

from __future__ import annotations

from keras import ops

from highnoon.layers.ordering import after

_MASKED = -1e30


def attend(query, key, value, mask=None):
    """Attention over all sources at once.

    ```
    p[b,g,r,t,s] = softmax_s(query[b,t,g,r,:] . key[b,s,g,:] / sqrt(k)  where mask)
    out[b,t,g,r,:] = sum_s p[b,g,r,t,s] value[b,s,g,:]
    ```

    Args:
        query: (b, t, g, r, k), r query heads for each of g key heads.
        key: (b, s, g, k).
        value: (b, s, g, k).
        mask: bool, broadcast to (b, t, s): where a target sees a source. A target that sees none
            gets the mean of the values.

    Returns:
        The output (b, t, g, r, k) in the dtype of `value`, and the log of the sum of exponentials
        (b, g, r, t) in float32.
    """
    scores = _scores(query, key, mask)
    peak = ops.stop_gradient(ops.max(scores, axis=-1, keepdims=True))
    weights = ops.exp(scores - peak)
    total = ops.sum(weights, axis=-1, keepdims=True)
    shares = ops.cast(weights / total, value.dtype)
    return ops.einsum("bgrts,bsgk->btgrk", shares, value), (peak + ops.log(total))[..., 0]


def _scores(query, key, mask):
    scores = ops.cast(ops.einsum("btgrk,bsgk->bgrts", query, key), "float32")
    scores = scores * (query.shape[-1] ** -0.5)
    return scores if mask is None else ops.where(_with_heads(mask), scores, _MASKED)


def _with_heads(mask):
    """(t, s) or (b, t, s) to (.., 1, 1, t, s)."""
    return mask[..., None, None, :, :]


def causal_mask(first, num_targets: int, num_sources: int, segment_ids=None, low=0, window=None):
    """Targets first .. first+t-1 see sources low .. up to themselves, of their own segment and window.

    Returns: bool (t, s), or (b, t, s) with `segment_ids` (b, whole length).
    """
    mask = _sees(first + ops.arange(num_targets), low + ops.arange(num_sources), window)
    if segment_ids is None:
        return mask
    targets = segment_ids[:, first : first + num_targets]
    return mask & (targets[:, :, None] == segment_ids[:, None, low : low + num_sources])


def _sees(targets, sources, window):
    """bool (t, s): sources not later than the target, and among its last `window`."""
    mask = targets[:, None] >= sources[None, :]
    return mask if window is None else mask & (targets[:, None] - sources[None, :] < window)


def causal_attention(
    query, key, value, segment_ids=None, chunk_length: int = 512, window: int | None = None
):
    """Causal attention of a sequence over itself, with memory linear in its length.

    Above `chunk_length` targets are taken in chunks, each against the sources that it may see,
    and the backward pass makes the scores of a chunk again from the saved log-sum-exp: the scores
    held at one time are (b, h, chunk_length, s). Equal to the whole form up to rounding.

    Args:
        query: (b, t, g, r, k).
        key: (b, t, g, k).
        value: (b, t, g, k).
        segment_ids: (b, t) whole numbers; nothing passes between different ones.
        chunk_length: Targets in one chunk, at least 1. A length that is unknown when the graph is
            made is not cut.
        window: How many sources, the target among them, a target sees; None for all before it.

    Returns: (b, t, g, r, k).

    Dao 2023, FlashAttention-2 (arXiv:2307.08691), section 3.1, in chunks of targets alone.
    """
    length = query.shape[1]
    if length is None or length <= chunk_length:
        length = ops.shape(query)[1]
        mask = causal_mask(0, length, length, segment_ids, window=window)
        return attend(query, key, value, mask)[0]
    return _chunked(segment_ids, length, chunk_length, window)(query, key, value)


def _chunked(segment_ids, length: int, chunk_length: int, window: int | None):
    """The chunked form as a function of (query, key, value) that brings its own gradient."""
    ends = [min(start + chunk_length, length) for start in range(0, length, chunk_length)]
    starts = [0, *ends[:-1]]
    lows = [0 if window is None else max(0, start - window + 1) for start in starts]  # first source seen

    def mask(i):
        start, end, low = starts[i], ends[i], lows[i]
        return causal_mask(start, end - start, end - low, segment_ids, low, window)

    @ops.custom_gradient
    def attention(query, key, value):
        outputs, totals = [], []
        for i, (start, end, low) in enumerate(zip(starts, ends, lows, strict=True)):
            chunk = query[:, start:end]
            chunk = after(chunk, outputs[-1]) if outputs else chunk
            output, total = attend(chunk, key[:, low:end], value[:, low:end], mask(i))
            outputs.append(output)
            totals.append(total)

        def gradient(*upstreams, upstream=None):
            if upstream is None:
                (upstream,) = upstreams
            query_parts, key_tails, value_tails = [], [], []
            key_sum = value_sum = None
            # From the last chunk to the first: beyond a chunk's end the sums are already complete.
            for i in reversed(range(len(ends))):
                start, end, low = starts[i], ends[i], lows[i]
                chunk = query[:, start:end]
                chunk = after(chunk, query_parts[-1]) if query_parts else chunk
                by_query, by_key, by_value = _attend_gradient(
                    chunk, key[:, low:end], value[:, low:end], mask(i),
                    outputs[i], totals[i], upstream[:, start:end],
                )
                query_parts.append(by_query)
                if key_sum is not None:
                    ahead = lows[i + 1] - low  # sources that no later chunk has seen
                    by_key = _add_after(by_key, key_sum, ahead)
                    by_value = _add_after(by_value, value_sum, ahead)
                key_tails.append(by_key[:, start - low :])
                value_tails.append(by_value[:, start - low :])
                key_sum, value_sum = by_key[:, : start - low], by_value[:, : start - low]
            return (
                ops.concatenate(query_parts[::-1], axis=1),
                ops.cast(ops.concatenate(key_tails[::-1], axis=1), key.dtype),
                ops.cast(ops.concatenate(value_tails[::-1], axis=1), value.dtype),
            )

        return ops.concatenate(outputs, axis=1), gradient

    return attention


def _add_after(x, addend, ahead: int):
    """Adds to all but the first `ahead` places of x (b, s, g, k)."""
    return x + (ops.pad(addend, ((0, 0), (ahead, 0), (0, 0), (0, 0))) if ahead else addend)


def _attend_gradient(query, key, value, mask, output, total, upstream):
    """Gradients of `attend` for one chunk, from its saved output and log-sum-exp."""
    shares = ops.exp(_scores(query, key, mask) - total[..., None])  # (b, g, r, t, s)
    by_value = ops.einsum("bgrts,btgrk->bsgk", ops.cast(shares, value.dtype), upstream)
    by_shares = ops.cast(ops.einsum("btgrk,bsgk->bgrts", upstream, value), "float32")
    balance = ops.einsum(
        "btgrk,btgrk->bgrt", ops.cast(upstream, "float32"), ops.cast(output, "float32")
    )
    by_scores = shares * (by_shares - balance[..., None]) * (query.shape[-1] ** -0.5)
    by_scores = ops.cast(by_scores, query.dtype)
    by_query = ops.einsum("bgrts,bsgk->btgrk", by_scores, key)
    by_key = ops.einsum("bgrts,btgrk->bsgk", by_scores, query)
    return by_query, ops.cast(by_key, "float32"), ops.cast(by_value, "float32")


def cached_attention(
    query, key, value, index, first, chunk_length: int = 512, window: int | None = None
):
    """Attention of new tokens over a cache that holds them and what came before.

    Args:
        query: (b, t, g, r, k), the tokens at places index .. index+t-1 of the cache.
        key: (b, s, g, k), the whole cache.
        value: (b, s, g, k).
        index: Place of the first new token, a scalar.
        first: (b,) place of each row's first real token; None for 0.
        chunk_length: Targets in one chunk.
        window: How many sources, the target among them, a target sees; None for all before it.

    Returns: (b, t, g, r, k).
    """
    length = query.shape[1]
    outputs = []
    for start in range(0, length, chunk_length):
        chunk = query[:, start : start + chunk_length]
        chunk = after(chunk, outputs[-1]) if outputs else chunk
        places = index + start + ops.arange(chunk.shape[1])
        keys, values, low = _within_reach(key, value, index + start, chunk.shape[1], window)
        sources = low + ops.arange(keys.shape[1])
        mask = _sees(places, sources, window)
        if first is not None:
            mask = mask[None] & (sources[None, :] >= first[:, None])[:, None, :]
        outputs.append(attend(chunk, keys, values, mask)[0])
    return outputs[0] if len(outputs) == 1 else ops.concatenate(outputs, axis=1)


def _within_reach(key, value, index, num_targets: int, window: int | None):
    """The part of a cache that targets from `index` on may see, and the place where it begins."""
    room = key.shape[1]
    size = room if window is None else min(room, window + num_targets - 1)
    if size == room:
        return key, value, 0
    low = ops.clip(index + num_targets - size, 0, room - size)
    start, shape = [0, low, 0, 0], (ops.shape(key)[0], size, *key.shape[2:])
    return ops.slice(key, start, shape), ops.slice(value, start, (*shape[:3], value.shape[3])), low
