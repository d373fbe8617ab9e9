"""Log-probabilities over a large vocabulary without (tokens x vocabulary) logits in memory."""

from __future__ import annotations

from typing import Any

from keras import ops

from highnoon.layers.token_cross_entropy import cross_entropies, cross_entropy_gradients


def token_log_probs(hidden, kernel, labels, chunk_tokens: int | None = None, softcap: float | None = None):
    """Log-probability of each label, in chunks of tokens, with a gradient.

    ```
    logits = float32(hidden) kernel^T                    with `softcap` c: c tanh(logits / c)
    y[n]   = logits[n, labels[n]] - logsumexp(logits[n])
    ```

    The gradient computes the logits again, a chunk at a time, with the gradient of each `y[n]` as its weight
    in `token_cross_entropy`. So a loss may depend on the log-probabilities in any way.

    Args:
        hidden: (n, d).
        kernel: (v, d), one row a token id.
        labels: (n,) integers in [0, v).
        chunk_tokens: Most tokens whose logits are in memory at one time; None takes as many as fill 128 MiB.
        softcap: Bound of the logits' absolute value; None for no bound.

    Returns:
        Log-probabilities (n,), float32, at most 0.

    Example:

    ```python
    import numpy as np
    from highnoon.layers import token_log_probs

    log_probs = token_log_probs(np.ones((5, 8), "float32"), np.ones((100, 8), "float32"), np.arange(5))
    assert np.allclose(log_probs, -np.log(100))
    ```
    """
    hidden = ops.convert_to_tensor(hidden)
    # TensorFlow's `custom_gradient` treats a Variable specially; slicing makes it a tensor.
    kernel = ops.convert_to_tensor(kernel)[:]
    options = {"chunk_tokens": chunk_tokens, "softcap": softcap}

    @ops.custom_gradient
    def log_probs(hidden, kernel):
        def gradient(*upstreams: Any, upstream: Any = None):
            weights = upstreams[0] if upstream is None else upstream
            grads = cross_entropy_gradients(hidden, kernel, labels, weights, **options)
            return -ops.cast(grads[0], hidden.dtype), -ops.cast(grads[1], kernel.dtype)

        return -cross_entropies(hidden, kernel, labels, **options), gradient

    return log_probs(hidden, kernel)
