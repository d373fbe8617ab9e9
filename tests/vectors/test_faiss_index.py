"""FAISS: the neighbors of exact search, among the lists that are compared."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest

from highnoon.vectors import FaissIndex, VectorIndex, VectorIndexError, load_index
from tests.vectors.conftest import METRICS, make_vectors

needs_faiss = pytest.mark.skipif(
    importlib.util.find_spec("faiss") is None,
    reason="faiss-cpu is not installed: pip install 'highnoon[rag]'",
)


def fill(index, count=400):
    rng = np.random.default_rng(0)
    ids, vectors = rng.permutation(count), make_vectors(count)
    for part in np.array_split(np.arange(count), 3):
        index.add(ids[part], vectors[part], ids[part] % 7)
    return index


def assert_same(one, other):
    np.testing.assert_array_equal(one.ids, other.ids)
    np.testing.assert_array_equal(one.scores, other.scores)


def test_without_faiss_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(
        ImportError, match=r"needs faiss-cpu: pip install 'highnoon\[rag\]', or use VectorIndex"
    ):
        FaissIndex(6)


@needs_faiss
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("lists", [{}, {"num_lists": 8, "num_probes": 8}], ids=["flat", "all lists"])
@pytest.mark.parametrize("k", [1, 10, 500])
def test_neighbors_are_those_of_exact_search(metric, lists, k):
    ours, exact = fill(FaissIndex(6, metric, **lists)), fill(VectorIndex(6, metric))
    queries = make_vectors(40, seed=1)
    assert_same(ours.search(queries, k), exact.search(queries, k))
    exclude = np.arange(40)[:, None] % 8 - np.array([[0, 1]])
    assert_same(ours.search(queries, k, exclude), exact.search(queries, k, exclude))
    for index in (ours, exact):
        index.remove(np.arange(0, 400, 3))
        index.add([1000], queries[:1])
    assert_same(ours.search(queries, k), exact.search(queries, k))


@needs_faiss
@pytest.mark.parametrize("metric", METRICS)
def test_of_many_equal_vectors_the_lowest_ids_are_found(metric):
    ours, exact = FaissIndex(6, metric), VectorIndex(6, metric)
    kinds = make_vectors(2)
    ids = np.random.default_rng(0).permutation(300)
    for index in (ours, exact):
        index.add(ids, kinds[ids % 2])
    assert_same(ours.search(kinds, 5), exact.search(kinds, 5))
    assert exact.search(kinds, 5).ids[0].tolist() == [0, 2, 4, 6, 8]


@needs_faiss
def test_of_few_lists_the_neighbors_are_among_those_that_are_compared():
    ours, exact = fill(FaissIndex(6, "l2", num_lists=16, num_probes=2)), fill(VectorIndex(6, "l2"))
    queries = make_vectors(60, seed=2)
    found, best = ours.search(queries, 5), exact.search(queries, 5)
    recall = np.mean(
        [len({*a} & {*b}) / 5 for a, b in zip(found.ids.tolist(), best.ids.tolist(), strict=True)]
    )
    assert 0.4 < recall < 1.0
    assert (np.diff(found.scores, axis=1) <= 0).all()


@needs_faiss
@pytest.mark.parametrize("lists", [{}, {"num_lists": 8, "num_probes": 3}], ids=["flat", "lists"])
def test_a_saved_index_finds_the_same_and_is_read_without_faiss_as_an_exact_one(tmp_path, lists):
    index, queries = fill(FaissIndex(6, "l2", "a", **lists)), make_vectors(9, seed=3)
    index.remove_groups([2])
    index.save(tmp_path / "index")
    again = load_index(tmp_path / "index", "a")
    assert type(again) is FaissIndex and again.num_lists == lists.get("num_lists")
    assert_same(again.search(queries, 8), index.search(queries, 8))
    exact = load_index(tmp_path / "index", "a", VectorIndex)
    assert type(exact) is VectorIndex
    np.testing.assert_array_equal(exact.vectors(), index.vectors())
    exact.save(tmp_path / "exact")
    as_faiss = load_index(tmp_path / "exact", index_class=FaissIndex)
    assert_same(as_faiss.search(queries, 8), exact.search(queries, 8))


@needs_faiss
def test_a_changed_file_of_faiss_is_refused_before_faiss_reads_it(tmp_path, monkeypatch):
    import faiss

    fill(FaissIndex(6)).save(tmp_path / "index")
    file = tmp_path / "index" / "faiss.index"
    data = bytearray(file.read_bytes())
    data[20] ^= 255
    file.write_bytes(data)
    monkeypatch.setattr(faiss, "read_index", lambda path: pytest.fail("FAISS read a damaged file"))
    with pytest.raises(VectorIndexError, match="damaged: the bytes of faiss.index have changed"):
        load_index(tmp_path / "index")


@needs_faiss
def test_an_empty_index_is_saved_and_filled_later(tmp_path):
    FaissIndex(6, "l2").save(tmp_path / "index")
    index = load_index(tmp_path / "index")
    assert index.search(make_vectors(1), 2).ids.tolist() == [[-1, -1]]
    fill(index)
    assert_same(index.search(make_vectors(3), 4), fill(VectorIndex(6, "l2")).search(make_vectors(3), 4))


@needs_faiss
def test_more_lists_than_vectors_are_refused():
    index = FaissIndex(6, num_lists=30)
    index.add(np.arange(20), make_vectors(20))
    with pytest.raises(
        VectorIndexError, match="30 lists need as many vectors; received 20: add vectors first"
    ):
        index.search(make_vectors(1), 1)
    with pytest.raises(VectorIndexError, match="`num_lists` must be at least 1; received 0"):
        FaissIndex(6, num_lists=0)
