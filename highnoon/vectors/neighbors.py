"""The nearest vectors of queries, and how they are found one part after the other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from highnoon.vectors.similarity import Floats

NO_ID = -1
"""The id where there are fewer vectors than were asked for."""


class Neighbors(NamedTuple):
    """The nearest vectors of q queries, the nearest first; of equal scores the lower id is first.

    Args:
        ids: (q, k) int64; -1 where there are fewer than k vectors.
        scores: (q, k) float32, the larger the nearer; -inf where there is no vector.
    """

    ids: npt.NDArray[np.int64]
    scores: Floats

    @classmethod
    def none(cls, num_queries: int, k: int) -> Neighbors:
        """Returns the neighbors of queries before any vector has been seen."""
        return cls(np.full((num_queries, k), NO_ID), np.full((num_queries, k), -np.inf, np.float32))

    @property
    def farthest(self) -> Floats:
        """The score of each query's last neighbor, (q,): a vector below it is no neighbor."""
        return self.scores[:, -1]

    def with_candidates(
        self, queries: npt.NDArray[np.int64], ids: npt.NDArray[np.int64], scores: Floats
    ) -> Neighbors:
        """Returns the nearest among these neighbors and more candidates.

        Args:
            queries: (c,) the query of each candidate.
            ids: (c,) its id, which no other candidate of that query has.
            scores: (c,) its score.
        """
        num_queries, k = self.ids.shape
        queries = np.concatenate((np.repeat(np.arange(num_queries), k), queries))
        ids = np.concatenate((self.ids.reshape(-1), ids))
        scores = np.concatenate((self.scores.reshape(-1), scores))
        order = np.lexsort((ids, -scores, queries))
        queries = queries[order]
        rank = np.arange(len(queries)) - np.searchsorted(queries, queries)
        kept = rank < k
        best = Neighbors.none(num_queries, k)
        best.ids[queries[kept], rank[kept]] = ids[order][kept]
        best.scores[queries[kept], rank[kept]] = scores[order][kept]
        return best
