"""Search for the nearest vectors with FAISS."""

from __future__ import annotations

import pathlib
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from highnoon.config import require_count
from highnoon.vectors.neighbors import Neighbors
from highnoon.vectors.similarity import Floats, error_bound, exact_scores
from highnoon.vectors.stored_vectors import Ids
from highnoon.vectors.vector_checks import VectorIndexError
from highnoon.vectors.vector_index import VectorIndex

FAISS_FILE = "faiss.index"
_SPARE = 16
_ROWS_AT_ONCE = 1 << 16
_MISSING = (
    "FaissIndex needs faiss-cpu: pip install 'highnoon[rag]', or use VectorIndex, which is exact and needs "
    "nothing more"
)


class FaissIndex(VectorIndex):
    """A `VectorIndex` that searches with FAISS.

    Without lists every vector is compared, and the neighbors are those of `VectorIndex`. With `num_lists` the
    vectors are divided into lists around as many centers (k-means), and a query is compared with those of the
    `num_probes` nearest centers: faster, and a neighbor in another list is missed. The centers are computed
    from the vectors that are there at the first search or save.

    FAISS proposes candidates; their scores are computed as in `VectorIndex`, with ties in the same order, and
    more candidates are taken while one that was not seen may be nearer. FAISS keeps a copy of the vectors in
    memory.

    Args:
        width: Numbers of a vector.
        metric: `"inner_product"`, `"cosine"` or `"l2"`.
        model_hash: Identifies the model that computes the vectors.
        num_lists: Lists of vectors; None compares all.
        num_probes: Lists that a query is compared with, at most `num_lists`.

    Raises:
        ImportError: faiss-cpu is not installed.
        VectorIndexError: an argument out of its range; at a search or save, fewer vectors than lists.

    Johnson, Douze and Jegou 2017, "Billion-scale similarity search with GPUs" (arXiv:1702.08734).
    """

    kind: ClassVar[str] = "faiss"

    def __init__(
        self,
        width: int,
        metric: str = "inner_product",
        model_hash: str = "",
        num_lists: int | None = None,
        num_probes: int = 8,
    ) -> None:
        _faiss()
        super().__init__(width, metric, model_hash)
        if num_lists is not None:
            require_count("num_lists", num_lists, most=1 << 24, error=VectorIndexError)
        require_count("num_probes", num_probes, error=VectorIndexError)
        self.num_lists = num_lists
        self.num_probes = num_probes
        self._faiss_index: Any = None

    def _options(self) -> dict[str, Any]:
        return {"num_lists": self.num_lists, "num_probes": self.num_probes}

    def _nearest(self, queries: Floats, k: int, exclude: Ids | None) -> Neighbors:
        found = Neighbors.none(len(queries), k)
        if not len(queries) or not len(self):
            return found
        index = self._filled()
        if exclude is None:
            exclude = np.full((len(queries), 1), -1)
        distinct, of_query = np.unique(exclude, axis=0, return_inverse=True)
        for number, groups in enumerate(distinct):
            chosen = np.flatnonzero(of_query.reshape(-1) == number)
            is_allowed = self._stored.is_live & ~np.isin(self._stored.groups, groups)
            part = self._nearest_of(index, queries[chosen], k, is_allowed)
            found.ids[chosen], found.scores[chosen] = part
        return found

    def _nearest_of(
        self, index: Any, queries: Floats, k: int, is_allowed: npt.NDArray[np.bool_]
    ) -> Neighbors:
        """Returns the nearest allowed rows, asking for more candidates until no other can be nearer."""
        num_allowed = int(np.count_nonzero(is_allowed))
        num_candidates = min(k + _SPARE, num_allowed)
        if not num_allowed:
            return Neighbors.none(len(queries), k)
        parameters = self._parameters(is_allowed)
        while True:
            proposed, rows = index.search(queries, num_candidates, params=parameters)
            pairs = np.nonzero(rows >= 0)
            of_pairs = rows[pairs].astype(np.int64)
            vectors = self._stored.take(of_pairs)
            exact = exact_scores(self.metric, queries, vectors, (pairs[0], np.arange(len(of_pairs))))
            none = Neighbors.none(len(queries), k)
            best = none.with_candidates(pairs[0], self._stored.ids[of_pairs], exact)
            if num_candidates == num_allowed or not len(of_pairs):
                return best
            last = -proposed[:, -1] if self.metric == "l2" else proposed[:, -1]
            # FAISS may round as any product in float32 does; what it did not return may be that much nearer.
            may_be_nearer = (
                last + 2 * error_bound(self.metric, queries, self._stored.longest()) >= best.farthest
            )
            if not (may_be_nearer & (rows[:, -1] >= 0)).any():
                return best
            num_candidates = min(2 * num_candidates, num_allowed)

    def _parameters(self, is_allowed: npt.NDArray[np.bool_]) -> Any:
        faiss = _faiss()
        options: dict[str, Any] = {}
        if not is_allowed.all():
            options["sel"] = faiss.IDSelectorBitmap(np.packbits(is_allowed, bitorder="little"))
        if self.num_lists is not None:
            return faiss.SearchParametersIVF(nprobe=min(self.num_probes, self.num_lists), **options)
        return faiss.SearchParameters(**options) if options else None

    def _filled(self) -> Any:
        """FAISS's index with every row, also removed ones, under the number of the row."""
        if self._faiss_index is None:
            live = self._stored.rows_by_id()
            self._faiss_index = self._trained(self._stored.take(live) if self.num_lists else None)
        self._fill(self._faiss_index, np.arange(self._faiss_index.ntotal, self._stored.num_rows))
        return self._faiss_index

    def _fill(self, index: Any, rows: npt.NDArray[np.int64]) -> None:
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            index.add(self._stored.take(rows[start : start + _ROWS_AT_ONCE]))

    def _trained(self, vectors: Floats | None) -> Any:
        """An empty index of FAISS, its centers computed from `vectors`."""
        faiss = _faiss()
        is_l2 = self.metric == "l2"
        flat = faiss.IndexFlatL2(self.width) if is_l2 else faiss.IndexFlatIP(self.width)
        if self.num_lists is None or vectors is None:
            return flat
        if len(vectors) < self.num_lists:
            raise VectorIndexError(
                f"{self.num_lists} lists need as many vectors; received {len(vectors)}: add vectors first, "
                "or choose a smaller `num_lists`"
            )
        metric = faiss.METRIC_L2 if is_l2 else faiss.METRIC_INNER_PRODUCT
        index = faiss.IndexIVFFlat(flat, self.width, self.num_lists, metric)
        # Fewer vectors a list than FAISS likes give a worse division, not a wrong one.
        index.cp.min_points_per_centroid = 1
        index.train(vectors)
        return index

    def _write_own(self, folder: pathlib.Path) -> None:
        if not len(self):
            return  # an empty index is filled again when it is loaded
        faiss = _faiss()
        fresh = faiss.clone_index(self._filled())
        fresh.reset()
        self._fill(fresh, self._stored.rows_by_id())
        faiss.write_index(fresh, str(folder / FAISS_FILE))

    def _read_own(self, folder: pathlib.Path) -> None:
        if not len(self):
            return
        index = _faiss().read_index(str(folder / FAISS_FILE))
        if index.d != self.width or index.ntotal != len(self):
            raise VectorIndexError(
                f"{folder / FAISS_FILE} must hold {len(self)} vectors of width {self.width}; received "
                f"{index.ntotal} of {index.d}; build the index again"
            )
        self._faiss_index = index


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise ImportError(_MISSING) from None
    return faiss
