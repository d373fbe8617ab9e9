"""Vectors for tests of indexes, and the search that looks at every pair."""

from __future__ import annotations

import hashlib
import pathlib

import numpy as np

METRICS = ("inner_product", "cosine", "l2")


def make_vectors(count, width=6, seed=0):
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


def brute_force(metric, queries, ids, vectors, k, is_allowed=None):
    """Ids and scores of a loop over all pairs: sorted by score, then by id."""
    found_ids = np.full((len(queries), k), -1)
    found_scores = np.full((len(queries), k), -np.inf, np.float32)
    for row, query in enumerate(np.asarray(queries, np.float32)):
        scored = []
        for number, (key, vector) in enumerate(zip(ids, vectors, strict=True)):
            if is_allowed is not None and not is_allowed[row][number]:
                continue
            a, b = query.astype(np.float64), vector.astype(np.float64)
            if metric == "cosine":
                a = (a / np.sqrt(a @ a)).astype(np.float32).astype(np.float64)
                b = (b / np.sqrt(b @ b)).astype(np.float32).astype(np.float64)
            score = -((a - b) @ (a - b)) if metric == "l2" else a @ b
            scored.append((-np.float32(score), key))
        for rank, (score, key) in enumerate(sorted(scored)[:k]):
            found_ids[row, rank], found_scores[row, rank] = key, -score
    return found_ids, found_scores


def folder_hash(folder):
    """A hash of the names, the times and the bytes of all files of a folder."""
    state = hashlib.sha256()
    for path in sorted(pathlib.Path(folder).rglob("*")):
        state.update(f"{path.relative_to(folder)} {path.stat().st_mtime_ns}".encode())
        state.update(path.read_bytes() if path.is_file() else b"")
    return state.hexdigest()
