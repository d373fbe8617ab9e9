"""Cross entropy over a large vocabulary without (tokens x vocabulary) logits in memory."""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import ops

from highnoon.layers.experts.ordering import after

_IMPOSSIBLE = -1e30
_CHUNK_LOGITS = 2**25  # float32 logits in memory at one time: 128 MiB


def token_cross_entropy(
    hidden,
    kernel,
    labels,
    weights,
    chunk_tokens: int | None = None,
    training: bool = True,
    softcap: float | None = None,
    return_losses: bool = False,
    excluded_id: int | None = None,
):
    """Sum over tokens of `weights * cross entropy`, in chunks of tokens.

    ```
    logits = float32(hidden) kernel^T                    with `softcap` c: c tanh(logits / c)
    loss   = sum_n weights[n] * (logsumexp(logits[n]) - logits[n, labels[n]])
    ```

    The forward pass computes the gradient too, while a chunk's logits are in memory, so that they are
    computed once and never kept. Logits are float32 under any dtype policy.

    ```
    grad_logits = weights * (softmax(logits) - one_hot(labels))      with c: times 1 - tanh(.. / c)^2
    grad_hidden = grad_logits kernel
    grad_kernel = grad_logits^T hidden
    ```

    Args:
        hidden: (n, d).
        kernel: (v, d), one row a token id.
        labels: (n,) integers in [0, v).
        weights: (n,) float32; not differentiated.
        chunk_tokens: Most tokens whose logits are in memory at one time; None takes as many as fill 128 MiB.
        training: Whether the gradient is needed; a pass without it costs a third.
        softcap: Bound of the logits' absolute value; None for no bound.
        return_losses: Whether to return the cross entropy of each token too.
        excluded_id: An id that is no label and has probability 0, such as a mask; None for none.

    Returns:
        A float32 scalar; with `return_losses` also the cross entropies (n,), float32, unweighted and without
        a gradient.

    Example:

    ```python
    import numpy as np
    from highnoon.layers import token_cross_entropy

    loss = token_cross_entropy(np.ones((5, 8), "float32"), np.ones((100, 8), "float32"),
                               np.arange(5), np.ones(5, "float32"))
    ```
    """
    hidden = ops.convert_to_tensor(hidden)
    # TensorFlow's `custom_gradient` treats a Variable specially; slicing makes it a tensor.
    kernel = ops.convert_to_tensor(kernel)[:]
    chunks = _cut_tokens(hidden, kernel, labels, weights, chunk_tokens)
    if not training:
        loss, losses = _loss(hidden, kernel, chunks, softcap, return_losses, excluded_id)
        return (loss, losses) if return_losses else loss

    @ops.custom_gradient
    def loss_with_gradient(hidden, kernel):
        loss, losses, grad_hidden, grad_kernel = _loss_and_gradients(
            hidden, kernel, chunks, softcap, return_losses, excluded_id
        )

        def gradient(*upstreams, upstream=None):
            if upstream is None:  # with the losses there are two, as arguments or in a tuple
                upstream = upstreams[0]
                upstream = upstream[0] if isinstance(upstream, (tuple, list)) else upstream
            return ops.cast(upstream * grad_hidden, hidden.dtype), ops.cast(
                upstream * grad_kernel, kernel.dtype
            )

        return ((loss, losses) if return_losses else loss), gradient

    return loss_with_gradient(hidden, kernel)


def cross_entropies(hidden, kernel, labels, chunk_tokens: int | None = None, softcap: float | None = None):
    """Returns the cross entropy of each token, (n,) float32, without a gradient; arguments as above."""
    chunks = _cut_tokens(hidden, kernel, labels, ops.ones_like(labels, "float32"), chunk_tokens)
    return _loss(hidden, kernel, chunks, softcap, True, None)[1]


def cross_entropy_gradients(
    hidden, kernel, labels, weights, chunk_tokens: int | None = None, softcap: float | None = None
):
    """Returns the gradients of `token_cross_entropy`, (n, d) and (v, d) float32; arguments as above."""
    chunks = _cut_tokens(hidden, kernel, labels, weights, chunk_tokens)
    return _loss_and_gradients(hidden, kernel, chunks, softcap, False, None)[2:]


class _Chunks(NamedTuple):
    """Labels and weights, padded to `count` chunks of `size` tokens with weight 0."""

    labels: Any
    weights: Any
    size: Any
    count: Any
    num_tokens: Any

    def pad(self, x):
        """Pads (n, ..) to `count * size` rows of zeros."""
        return _pad(x, self.count * self.size - self.num_tokens)

    def slice(self, x, chunk):
        """Chunk number `chunk` of a padded (n, ..)."""
        start = [chunk * self.size] + [0] * (len(x.shape) - 1)
        return ops.slice(x, start, (self.size, *x.shape[1:]))

    def no_totals(self, is_kept: bool):
        """What a loop begins with that keeps the totals of each token's logits: one array, or none."""
        return (ops.zeros_like(self.weights),) if is_kept else ()

    def keep(self, totals, chunk, all_totals):
        """The arrays of `no_totals` with those of a chunk."""
        return tuple(ops.slice_update(array, [chunk * self.size], totals) for array in all_totals)


def _cut(labels, weights, num_tokens, chunk_tokens: int) -> _Chunks:
    """As few chunks as fit, of even size; counts are tensors if the number of tokens is not known yet."""
    count = (num_tokens + chunk_tokens - 1) // chunk_tokens
    count = max(count, 1) if isinstance(count, int) else ops.maximum(count, 1)
    size = (num_tokens + count - 1) // count
    missing = count * size - num_tokens
    return _Chunks(_pad(labels, missing), _pad(weights, missing), size, count, num_tokens)


def _cut_tokens(hidden, kernel, labels, weights, chunk_tokens: int | None) -> _Chunks:
    """Returns labels and weights in chunks; by default as many tokens as fill the memory for logits."""
    chunk_tokens = chunk_tokens or max(1, _CHUNK_LOGITS // kernel.shape[0])
    return _cut(ops.cast(labels, "int32"), ops.cast(weights, "float32"), ops.shape(hidden)[0], chunk_tokens)


def _pad(x, missing):
    if isinstance(missing, int) and not missing:
        return x
    return ops.concatenate([x, ops.zeros((missing, *x.shape[1:]), x.dtype)], axis=0)


def _logits(hidden, kernel, softcap: float | None):
    logits = ops.einsum("nd,vd->nv", hidden, kernel)
    return logits if softcap is None else softcap * ops.tanh(logits / softcap)


def _without(logits, excluded_id: int | None):
    """The logits (n, v), those of one id so low that its probability is 0."""
    if excluded_id is None:
        return logits
    return ops.where(ops.arange(logits.shape[1]) == excluded_id, _IMPOSSIBLE, logits)


def _label_logits(hidden, rows, softcap: float | None):
    logits = ops.einsum("nd,nd->n", hidden, rows)
    return logits if softcap is None else softcap * ops.tanh(logits / softcap)


def _slope(logits, softcap: float):
    """The derivative of capped logits with respect to those before the cap."""
    return 1.0 - ops.square(logits / softcap)


def _label_logit_sum(hidden, rows, weights):
    return ops.sum(weights * ops.einsum("nd,nd->n", hidden, rows))


def _loss(hidden, kernel, chunks: _Chunks, softcap: float | None, with_losses: bool, excluded_id: int | None):
    """Returns the loss, and that of each token or None."""
    kernel = ops.cast(kernel, "float32")
    hidden = chunks.pad(ops.cast(hidden, "float32"))

    def add_chunk(chunk, loss, *all_totals):
        part = after(chunks.slice(hidden, chunk), loss)
        totals = ops.logsumexp(_without(_logits(part, kernel, softcap), excluded_id), axis=-1)
        return (
            chunk + 1,
            loss + ops.sum(chunks.slice(chunks.weights, chunk) * totals),
            *chunks.keep(totals, chunk, all_totals),
        )

    _, loss, *all_totals = ops.while_loop(
        lambda chunk, *_: chunk < chunks.count, add_chunk, (*_start(), *chunks.no_totals(with_losses))
    )
    rows = ops.take(kernel, chunks.labels, axis=0)
    losses = _token_losses(hidden, rows, all_totals, chunks.num_tokens, softcap)
    if softcap is None:
        return loss - _label_logit_sum(hidden, rows, chunks.weights), losses
    return loss - ops.sum(chunks.weights * _label_logits(hidden, rows, softcap)), losses


def _token_losses(hidden, rows, all_totals, num_tokens, softcap: float | None):
    """Returns the cross entropy of each token; None without the totals of its logits."""
    if not all_totals:
        return None
    (totals,) = all_totals
    return ops.stop_gradient(totals - _label_logits(hidden, rows, softcap))[:num_tokens]


def _loss_and_gradients(
    hidden, kernel, chunks: _Chunks, softcap: float | None, with_losses: bool, excluded_id: int | None
):
    """Returns the loss, that of each token or None, and gradients; one_hot(labels) is never a tensor."""
    kernel = ops.cast(kernel, "float32")
    hidden = chunks.pad(ops.cast(hidden, "float32"))

    def add_chunk(chunk, loss, grad_hidden, grad_kernel, *all_totals):
        part = after(chunks.slice(hidden, chunk), grad_kernel)
        weights = chunks.slice(chunks.weights, chunk)
        logits = _logits(part, kernel, softcap)
        possible = _without(logits, excluded_id)
        totals = ops.logsumexp(possible, axis=-1)
        mass = ops.exp(possible - totals[:, None]) * weights[:, None]
        if softcap is not None:
            mass = mass * _slope(logits, softcap)
        grad_part = ops.einsum("nv,vd->nd", mass, kernel)
        return (
            chunk + 1,
            loss + ops.sum(weights * totals),
            ops.slice_update(grad_hidden, [chunk * chunks.size, 0], grad_part),
            grad_kernel + ops.einsum("nv,nd->vd", mass, part),
            *chunks.keep(totals, chunk, all_totals),
        )

    _, loss, grad_hidden, grad_kernel, *all_totals = ops.while_loop(
        lambda chunk, *_: chunk < chunks.count,
        add_chunk,
        (*_start(), ops.zeros_like(hidden), ops.zeros_like(kernel), *chunks.no_totals(with_losses)),
    )
    rows, weights = ops.take(kernel, chunks.labels, axis=0), chunks.weights
    losses = _token_losses(hidden, rows, all_totals, chunks.num_tokens, softcap)
    if softcap is None:
        loss = loss - _label_logit_sum(hidden, rows, weights)
    else:
        label_logits = _label_logits(hidden, rows, softcap)
        loss = loss - ops.sum(weights * label_logits)
        weights = weights * _slope(label_logits, softcap)
    grad_hidden = (grad_hidden - weights[:, None] * rows)[: chunks.num_tokens]
    targets = ops.segment_sum(weights[:, None] * hidden, chunks.labels, num_segments=kernel.shape[0])
    return loss, losses, grad_hidden, grad_kernel - targets


def _start():
    return ops.zeros((), "int32"), ops.zeros((), "float32")
