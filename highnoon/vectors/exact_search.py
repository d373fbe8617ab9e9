"""Exact search over blocks of rows, in bounded memory."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from highnoon.vectors.neighbors import Neighbors
from highnoon.vectors.similarity import Floats, error_bound, exact_scores, fast_scores, lengths
from highnoon.vectors.stored_vectors import Block, Ids, StoredVectors

QUERIES_AT_ONCE = 512
ROWS_AT_ONCE = 4096


def exact_search(
    stored: StoredVectors, metric: str, queries: Floats, k: int, exclude: Ids | None
) -> Neighbors:
    """Returns the k nearest live vectors of each query.

    A product of matrices in float32 finds the candidates of a block: all rows whose score may, within the
    bound of its error, be among the k best. Their scores are then computed in float64. So the result is that
    of comparing every exact score, whatever the blocks and the other queries are.

    Args:
        stored: The vectors.
        metric: One of `METRICS`.
        queries: (q, d).
        k: Neighbors of each query.
        exclude: (q, m) groups that a query must not find, -1 for none; None for none at all.
    """
    parts = []
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        chosen = slice(start, start + QUERIES_AT_ONCE)
        best = Neighbors.none(len(queries[chosen]), k)
        excluded = None if exclude is None else exclude[chosen]
        for block in stored.blocks(ROWS_AT_ONCE):
            best = _with_block(best, block, metric, queries[chosen], excluded)
        parts.append(best)
    if not parts:
        return Neighbors.none(0, k)
    return Neighbors(
        np.concatenate([part.ids for part in parts]), np.concatenate([part.scores for part in parts])
    )


def _with_block(
    best: Neighbors, block: Block, metric: str, queries: Floats, exclude: Ids | None
) -> Neighbors:
    scores = fast_scores(metric, queries, block.vectors)
    if not block.is_live.all():
        scores[:, ~block.is_live] = -np.inf
    if exclude is not None:
        for column in exclude.T:
            scores[column[:, None] == block.groups] = -np.inf
    bound = error_bound(metric, queries, float(lengths(block.vectors).max()))
    threshold = _threshold(best, scores, bound)
    of_query, of_row = np.nonzero((scores >= threshold[:, None]) & (scores > -np.inf))
    if not len(of_query):
        return best
    exact = exact_scores(metric, queries, block.vectors, (of_query, of_row))
    return best.with_candidates(of_query, block.ids[of_row], exact)


def _threshold(best: Neighbors, scores: Floats, bound: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Returns the fast score below which a row cannot be a neighbor, (q,)."""
    k = best.ids.shape[1]
    threshold = best.farthest - bound
    if scores.shape[1] > k and not np.isfinite(best.farthest).all():
        kth = np.partition(scores, -k, axis=1)[:, -k]
        # The k best fast scores are at least this, so their exact ones are within one bound below it.
        threshold = np.maximum(threshold, kth - 2 * bound)
    return threshold
