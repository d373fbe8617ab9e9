"""Gathers rows, with a gradient that gathers too."""

from __future__ import annotations

from keras import ops


def gather_rows(x, index, inverse, has_gaps: bool):
    """`y[i] = x[index[i]]`, with `dx[n] = sum over j of dy[inverse[n, j]]`.

    The usual gradient of a gather scatters rows one by one. Where it is known which rows of `y` came from
    row n, gathering those is several times faster and the sum has a fixed order.

    Args:
        x: (n, d).
        index: (m,) integers below n, or n itself for a row of zeros where `has_gaps`.
        inverse: (n, j), for each row of `x` the rows of `y` taken from it; m for none where
            `has_gaps`.
        has_gaps: Whether `index` or `inverse` may point beyond the end.

    Returns:
        (m, d).
    """
    index, inverse = ops.stop_gradient(index), ops.stop_gradient(inverse)

    @ops.custom_gradient
    def gather(x):
        def gradient(*upstreams, upstream=None):
            if upstream is None:
                (upstream,) = upstreams
            return ops.sum(_take(upstream, inverse, has_gaps), axis=1)

        return _take(x, index, has_gaps), gradient

    return gather(x)


def _take(x, index, has_gaps: bool):
    if has_gaps:
        x = ops.concatenate([x, ops.zeros_like(x[:1])], axis=0)
    return ops.take(x, index, axis=0)
