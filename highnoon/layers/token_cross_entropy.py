"""Cross entropy over a large vocabulary without (tokens x vocabulary) logits in memory."""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import ops

from highnoon.layers.experts.ordering import after

_CHUNK_LOGITS = 2**25  # float32 logits in memory at one time: 128 MiB


def token_cross_entropy(
    hidden, kernel, labels, weights, chunk_tokens: int | None = None, training: bool = True
):
    """Sum over tokens of `weights * cross entropy`, in chunks of tokens.

    ```
    logits = float32(hidden) kernel^T
    loss   = sum_n weights[n] * (logsumexp(logits[n]) - logits[n, labels[n]])
    ```

    The forward pass computes the gradient too, while a chunk's logits are in memory, so that they are
    computed once and never kept. Logits are float32 under any dtype policy.

    ```
    grad_logits = weights * (softmax(logits) - one_hot(labels))
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

    Returns:
        A float32 scalar.

    Example:

    ```python
    import numpy as np
    from highnoon.layers import token_cross_entropy

    loss = token_cross_entropy(np.ones((5, 8), "float32"), np.ones((100, 8), "float32"),
                               np.arange(5), np.ones(5, "float32"))
    ```
    """
    chunk_tokens = chunk_tokens or max(1, _CHUNK_LOGITS // kernel.shape[0])
    hidden = ops.convert_to_tensor(hidden)
    # TensorFlow's `custom_gradient` treats a Variable specially; slicing makes it a tensor.
    kernel = ops.convert_to_tensor(kernel)[:]
    chunks = _cut(ops.cast(labels, "int32"), ops.cast(weights, "float32"), ops.shape(hidden)[0], chunk_tokens)
    if not training:
        return _loss(hidden, kernel, chunks)

    @ops.custom_gradient
    def loss_with_gradient(hidden, kernel):
        loss, grad_hidden, grad_kernel = _loss_and_gradients(hidden, kernel, chunks)

        def gradient(*upstreams, upstream=None):
            if upstream is None:
                (upstream,) = upstreams
            return ops.cast(upstream * grad_hidden, hidden.dtype), ops.cast(
                upstream * grad_kernel, kernel.dtype
            )

        return loss, gradient

    return loss_with_gradient(hidden, kernel)


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


def _cut(labels, weights, num_tokens, chunk_tokens: int) -> _Chunks:
    """As few chunks as fit, of even size; counts are tensors if the number of tokens is not known yet."""
    count = (num_tokens + chunk_tokens - 1) // chunk_tokens
    count = max(count, 1) if isinstance(count, int) else ops.maximum(count, 1)
    size = (num_tokens + count - 1) // count
    missing = count * size - num_tokens
    return _Chunks(_pad(labels, missing), _pad(weights, missing), size, count, num_tokens)


def _pad(x, missing):
    if isinstance(missing, int) and not missing:
        return x
    return ops.concatenate([x, ops.zeros((missing, *x.shape[1:]), x.dtype)], axis=0)


def _logits(hidden, kernel):
    return ops.einsum("nd,vd->nv", hidden, kernel)


def _label_logit_sum(hidden, rows, weights):
    return ops.sum(weights * ops.einsum("nd,nd->n", hidden, rows))


def _loss(hidden, kernel, chunks: _Chunks):
    kernel = ops.cast(kernel, "float32")
    hidden = chunks.pad(ops.cast(hidden, "float32"))

    def add_chunk(chunk, loss):
        part = after(chunks.slice(hidden, chunk), loss)
        totals = ops.logsumexp(_logits(part, kernel), axis=-1)
        return chunk + 1, loss + ops.sum(chunks.slice(chunks.weights, chunk) * totals)

    _, loss = ops.while_loop(lambda chunk, loss: chunk < chunks.count, add_chunk, _start())
    return loss - _label_logit_sum(hidden, ops.take(kernel, chunks.labels, axis=0), chunks.weights)


def _loss_and_gradients(hidden, kernel, chunks: _Chunks):
    """Returns the loss and its gradients; one_hot(labels) is never a tensor."""
    kernel = ops.cast(kernel, "float32")
    hidden = chunks.pad(ops.cast(hidden, "float32"))

    def add_chunk(chunk, loss, grad_hidden, grad_kernel):
        part = after(chunks.slice(hidden, chunk), grad_kernel)
        weights = chunks.slice(chunks.weights, chunk)
        logits = _logits(part, kernel)
        totals = ops.logsumexp(logits, axis=-1)
        mass = ops.exp(logits - totals[:, None]) * weights[:, None]
        grad_part = ops.einsum("nv,vd->nd", mass, kernel)
        return (
            chunk + 1,
            loss + ops.sum(weights * totals),
            ops.slice_update(grad_hidden, [chunk * chunks.size, 0], grad_part),
            grad_kernel + ops.einsum("nv,nd->vd", mass, part),
        )

    _, loss, grad_hidden, grad_kernel = ops.while_loop(
        lambda chunk, *_: chunk < chunks.count,
        add_chunk,
        (*_start(), ops.zeros_like(hidden), ops.zeros_like(kernel)),
    )
    rows, weights = ops.take(kernel, chunks.labels, axis=0), chunks.weights
    loss = loss - _label_logit_sum(hidden, rows, weights)
    grad_hidden = (grad_hidden - weights[:, None] * rows)[: chunks.num_tokens]
    targets = ops.segment_sum(weights[:, None] * hidden, chunks.labels, num_segments=kernel.shape[0])
    return loss, grad_hidden, grad_kernel - targets


def _start():
    return ops.zeros((), "int32"), ops.zeros((), "float32")
