"""Exact search for the nearest vectors."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from highnoon.config import require_choice, require_count
from highnoon.vectors.exact_search import exact_search
from highnoon.vectors.index_folder import IndexDescription, save_index_folder
from highnoon.vectors.neighbors import Neighbors
from highnoon.vectors.similarity import METRICS, Floats
from highnoon.vectors.stored_vectors import Ids, StoredVectors
from highnoon.vectors.vector_checks import (
    VectorIndexError,
    require_exclusions,
    require_ids,
    require_vectors,
)

MOST_NEIGHBORS = 1 << 16


class VectorIndex:
    """Vectors with ids, and exact search for those nearest to a query.

    ```
    score(q, x) = q . x  |  q . x / (|q| |x|)  |  -|q - x|^2
    ```

    for the metrics `inner_product`, `cosine` and `l2`: the larger the nearer. The neighbors are those of the
    exact scores, computed in float64 and rounded to float32; of equal ones the lower id is first. They do not
    depend on the order in which vectors were added, or on the other queries. Searching needs about 30 MB
    besides the vectors.

    Each vector belongs to a group, such as the document that it is a part of. A search can exclude groups for
    each query, and a group can be removed at once. Without groups, each vector is its own: its id.

    Args:
        width: Numbers of a vector.
        metric: `"inner_product"`, `"cosine"` or `"l2"`. A cosine index stores vectors divided by their
            lengths.
        model_hash: Identifies the model that computes the vectors; it is saved, and `load_index` compares it.

    Raises:
        VectorIndexError: an argument out of its range.

    Example:

    ```python
    import numpy as np
    from highnoon.vectors import VectorIndex

    index = VectorIndex(width=2, metric="l2")
    index.add([7, 8, 9], np.array([[0.0, 0.0], [1.0, 0.0], [5.0, 5.0]]))
    found = index.search(np.array([[0.9, 0.0]]), k=2)
    assert found.ids.tolist() == [[8, 7]]
    assert index.search(np.array([[0.9, 0.0]]), k=2, exclude=[8]).ids.tolist() == [[7, 9]]
    ```
    """

    kind: ClassVar[str] = "exact"

    def __init__(self, width: int, metric: str = "inner_product", model_hash: str = "") -> None:
        self.width = require_count("width", width, most=1 << 20, error=VectorIndexError)
        self.metric = require_choice("metric", metric, METRICS, VectorIndexError)
        if not isinstance(model_hash, str):
            raise VectorIndexError(f"`model_hash` must be a text; received {type(model_hash).__name__}")
        self.model_hash = model_hash
        self._stored = StoredVectors(self.width)

    def __len__(self) -> int:
        return len(self._stored)

    @property
    def ids(self) -> Ids:
        """The ids of all vectors, ascending."""
        return self._stored.ids[self._stored.rows_by_id()]

    @property
    def groups(self) -> Ids:
        """The group of each of `ids`."""
        return self._stored.groups[self._stored.rows_by_id()]

    def vectors(self) -> Floats:
        """Returns a copy of all vectors, in the order of `ids`."""
        return self._stored.take(self._stored.rows_by_id())

    def add(self, ids: Any, vectors: Any, groups: Any = None) -> None:
        """Adds vectors.

        Args:
            ids: (n,) integers of at least 0 that no vector of the index has.
            vectors: (n, width), finite.
            groups: (n,) integers of at least 0; None makes each vector its own group, its id.

        Raises:
            VectorIndexError: an id that is known or given twice, or another array; nothing is added.
        """
        rows = require_vectors("vectors", vectors, self.width, self.metric)
        new = require_ids("ids", ids, len(rows))
        of_groups = new if groups is None else require_ids("groups", groups, len(rows))
        ordered = np.sort(new)
        if (twice := ordered[1:][ordered[1:] == ordered[:-1]]).size:
            raise VectorIndexError(f"each of `ids` must be given once; received {int(twice[0])} twice")
        if (known := self._stored.known_id(new)) is not None:
            raise VectorIndexError(
                f"`ids` must be new; the index has a vector with the id {known}: remove it first"
            )
        # Not the caller's own array, which may change.
        self._stored.append(new, of_groups, rows if rows is not vectors else rows.copy())

    def remove(self, ids: Any) -> int:
        """Removes vectors by their ids, and returns how many.

        Raises:
            VectorIndexError: an id that no vector has; nothing is removed.
        """
        removed = np.unique(require_ids("ids", ids))
        missing = removed[~np.isin(removed, self._stored.ids[self._stored.is_live])]
        if len(missing):
            raise VectorIndexError(f"`ids` must be in the index; it has no vector with the id {missing[0]}")
        return self._stored.remove(np.isin(self._stored.ids, removed))

    def remove_groups(self, groups: Any) -> int:
        """Removes all vectors of some groups, and returns how many; a group may have none."""
        return self._stored.remove(np.isin(self._stored.groups, require_ids("groups", groups)))

    def search(self, queries: Any, k: int, exclude: Any = None) -> Neighbors:
        """Returns the k nearest vectors of each query.

        Args:
            queries: (q, width), finite.
            k: Neighbors of each query.
            exclude: For each query a group, or a row of groups, that it must not find, -1 for none; (q,) or
                (q, m). None excludes nothing.

        Returns:
            Ids and scores, (q, k); -1 and -inf where fewer vectors are left.

        Raises:
            VectorIndexError: arrays of another form, or `k` out of its range.
        """
        require_count("k", k, most=MOST_NEIGHBORS, error=VectorIndexError)
        rows = require_vectors("queries", queries, self.width, self.metric)
        return self._nearest(rows, int(k), require_exclusions(exclude, len(rows)))

    def _nearest(self, queries: Floats, k: int, exclude: Ids | None) -> Neighbors:
        return exact_search(self._stored, self.metric, queries, k, exclude)

    def save(
        self, path: str | os.PathLike[str], write_more: Callable[[pathlib.Path], None] | None = None
    ) -> pathlib.Path:
        """Writes the index as a folder that is complete, or as it was before.

        The files do not depend on the order in which vectors were added; removed vectors are left out.

        Args:
            path: The folder. An index that is there is replaced when the new one is complete.
            write_more: Writes further files into the new folder, before it replaces the old one.

        Returns:
            The path.

        Raises:
            VectorIndexError: `path` exists and holds something else.
            FolderLockedError: another process or thread is writing it.
            OSError: the files cannot be written; nothing has changed.
        """

        def write(folder: pathlib.Path) -> None:
            self._write_own(folder)
            if write_more is not None:
                write_more(folder)

        return save_index_folder(path, self._stored, self._describe(), write)

    def _describe(self) -> IndexDescription:
        return IndexDescription(
            self.kind, self.width, self.metric, len(self), self.model_hash, self._options()
        )

    def _options(self) -> dict[str, Any]:
        """Arguments of the constructor besides those of this class, as JSON values."""
        return {}

    def _write_own(self, folder: pathlib.Path) -> None:
        """Writes the files of a subclass."""

    def _read_own(self, folder: pathlib.Path) -> None:
        """Reads the files of a subclass, whose hashes have been checked."""

    @classmethod
    def restore(
        cls, folder: pathlib.Path, description: IndexDescription, ids: Ids, groups: Ids, vectors: Floats
    ) -> VectorIndex:
        """Returns the index of a folder that has been checked; `load_index` calls it."""
        options = description.options if cls.kind == description.kind else {}
        index = cls(description.width, description.metric, description.model_hash, **options)
        index._stored.append(ids, groups, vectors)
        if cls.kind == description.kind:
            index._read_own(folder)
        return index

    def __repr__(self) -> str:
        return f"{type(self).__name__}(width={self.width}, metric={self.metric!r}, vectors={len(self)})"
