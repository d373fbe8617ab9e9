"""The scores of vectors: fast ones with a bound of their error, and exact ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

METRICS = ("inner_product", "cosine", "l2")

# Of one rounding in float32; twice the unit roundoff, which leaves a margin in every bound.
_EPSILON = 2.0**-23
_PAIR_NUMBERS = 1 << 20


def fast_scores(metric: str, queries: Floats, vectors: Floats) -> Floats:
    """Returns the score of each query and vector, by one product of matrices in float32.

    ```
    inner_product, cosine:  q . x        l2:  2 q . x - |q|^2 - |x|^2
    ```

    Vectors of a cosine index have length 1, so it is their inner product.

    Args:
        metric: One of `METRICS`.
        queries: (q, d).
        vectors: (r, d).

    Returns:
        (q, r).
    """
    products: Floats = queries @ vectors.T
    if metric == "l2":
        products *= 2
        products -= np.square(lengths(queries)).astype(np.float32)[:, None]
        products -= np.square(lengths(vectors)).astype(np.float32)
    return products


def error_bound(metric: str, queries: Floats, longest: float) -> npt.NDArray[np.float64]:
    """Returns how far a fast score of each query may be from the exact one, (q,).

    `|fl(q . x) - q . x| <= gamma |q| |x|` with `gamma = d eps / (1 - d eps)`, for any order of summation
    (Higham, "Accuracy and stability of numerical algorithms", section 3.1).

    Args:
        metric: One of `METRICS`.
        queries: (q, d).
        longest: Length of the longest vector.
    """
    width = queries.shape[1]
    gamma = (width + 2) * _EPSILON / (1 - (width + 2) * _EPSILON)
    of_queries = lengths(queries)
    bound = gamma * of_queries * longest
    if metric == "l2":
        bound = 2 * bound + 4 * _EPSILON * np.square(of_queries + longest)
    return bound


def exact_scores(
    metric: str, queries: Floats, vectors: Floats, pairs: tuple[npt.NDArray, npt.NDArray]
) -> Floats:
    """Returns the scores of pairs, computed in float64 and rounded once.

    A score depends on its query and its vector alone, not on what is computed with them.

    Args:
        metric: One of `METRICS`.
        queries: (q, d).
        vectors: (r, d).
        pairs: (p,) indices of queries, and (p,) indices of vectors.

    Returns:
        (p,), the larger the nearer; for `l2` the negative squared distance.
    """
    scores = np.empty(len(pairs[0]), np.float32)
    step = max(1, _PAIR_NUMBERS // queries.shape[1])
    for start in range(0, len(scores), step):
        chosen = slice(start, start + step)
        left = queries[pairs[0][chosen]].astype(np.float64)
        right = vectors[pairs[1][chosen]].astype(np.float64)
        if metric == "l2":
            scores[chosen] = -np.square(left - right).sum(axis=1)
        else:
            scores[chosen] = (left * right).sum(axis=1)
    return scores


def lengths(vectors: Floats) -> npt.NDArray[np.float64]:
    """Returns the length of each vector, (r,)."""
    squares: npt.NDArray[np.float64] = np.einsum("rd,rd->r", vectors, vectors, dtype=np.float64)
    return np.sqrt(squares)
