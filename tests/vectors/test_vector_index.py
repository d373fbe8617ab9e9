"""Exact search: that of a loop over all pairs, whatever the blocks, the order and the other queries are."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from highnoon.vectors import VectorIndex, VectorIndexError, exact_search
from tests.vectors.conftest import METRICS, brute_force, make_vectors


def make_index(metric="inner_product", count=50):
    index, vectors = VectorIndex(6, metric), make_vectors(count)
    index.add(np.arange(count) * 3, vectors, np.arange(count) // 5)
    return index, vectors


def assert_same(found, expected):
    np.testing.assert_array_equal(found.ids, expected[0])
    np.testing.assert_array_equal(found.scores, expected[1])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("block", [(4096, 512), (7, 3), (1, 1)])
def test_neighbors_are_those_of_a_loop_over_all_pairs(metric, block, monkeypatch):
    monkeypatch.setattr(exact_search, "ROWS_AT_ONCE", block[0])
    monkeypatch.setattr(exact_search, "QUERIES_AT_ONCE", block[1])
    index, vectors = make_index(metric)
    queries = make_vectors(8, seed=1)
    assert_same(index.search(queries, 9), brute_force(metric, queries, np.arange(50) * 3, vectors, 9))


@pytest.mark.parametrize("metric", METRICS)
def test_of_equal_vectors_the_lower_id_is_first_in_any_block_and_order(metric, monkeypatch):
    monkeypatch.setattr(exact_search, "ROWS_AT_ONCE", 4)
    rng = np.random.default_rng(3)
    kinds = make_vectors(3, seed=4)
    ids = rng.permutation(40)
    index = VectorIndex(6, metric)
    for part in np.array_split(np.arange(40), 7):
        index.add(ids[part], kinds[ids[part] % 3])
    found = index.search(kinds[:1], 20)
    expected = brute_force(metric, kinds[:1], np.arange(40), kinds[np.arange(40) % 3], 20)
    assert_same(found, expected)
    assert len(set(found.scores[0].tolist())) == 2, "the cut is among equal scores"


def test_vectors_that_float32_cannot_tell_apart_are_ordered_by_their_exact_scores():
    rng = np.random.default_rng(0)
    base = rng.normal(size=384).astype(np.float32)
    near = base + rng.normal(size=(300, 384)).astype(np.float32) * np.float32(1e-6)
    query = base[None] * np.float32(1.5)
    for metric in METRICS:
        index = VectorIndex(384, metric)
        index.add(np.arange(300), near)
        assert_same(index.search(query, 10), brute_force(metric, query, np.arange(300), near, 10))


def test_neighbors_do_not_depend_on_the_other_queries():
    index, _ = make_index("l2", 500)
    queries = make_vectors(40, seed=5)
    together = index.search(queries, 7)
    for row in range(0, 40, 13):
        alone = index.search(queries[row : row + 1], 7)
        np.testing.assert_array_equal(alone.ids[0], together.ids[row])
        np.testing.assert_array_equal(alone.scores[0], together.scores[row])


def test_each_query_excludes_its_own_groups():
    index, vectors = make_index("l2")
    queries = vectors[[0, 12, 30]]
    exclude = np.array([[0, 1], [-1, -1], [6, -1]])
    allowed = ~(exclude[:, :, None] == (np.arange(50) // 5)[None, None]).any(axis=1)
    expected = brute_force("l2", queries, np.arange(50) * 3, vectors, 50, allowed)
    found = index.search(queries, 50, exclude)
    assert_same(found, expected)
    assert found.ids[1, 0] == 36 and found.scores[1, 0] == 0
    assert (found.ids[0, 40:] == -1).all() and np.isneginf(found.scores[0, 40:]).all()
    np.testing.assert_array_equal(index.search(queries[2:], 5, exclude=[6]).ids, expected[0][2:, :5])


def test_removed_vectors_are_found_no_more_and_may_be_added_again():
    index, vectors = make_index("l2")
    assert index.remove([0, 3]) == 2 and index.remove_groups([9]) == 5 and len(index) == 43
    kept = np.setdiff1d(np.arange(2, 45), [])
    queries = make_vectors(4, seed=2)
    assert_same(index.search(queries, 43), brute_force("l2", queries, kept * 3, vectors[kept], 43))
    np.testing.assert_array_equal(index.ids, kept * 3)
    np.testing.assert_array_equal(index.groups, kept // 5)
    np.testing.assert_array_equal(index.vectors(), vectors[kept])
    index.add([3], vectors[:1])
    assert index.search(vectors[:1], 1).ids.tolist() == [[3]]
    assert index.remove_groups([777]) == 0


def test_changing_the_callers_array_does_not_change_the_index():
    vectors = make_vectors(4)
    index = VectorIndex(6, "l2")
    index.add(np.arange(4), vectors)
    query = vectors[2:3].copy()
    vectors[:] = 0
    assert index.search(query, 1).ids.tolist() == [[2]]


def test_an_empty_index_has_no_neighbors_and_no_query_has_no_rows():
    index = VectorIndex(6)
    assert index.search(make_vectors(2), 3).ids.tolist() == [[-1] * 3] * 2
    assert make_index()[0].search(np.zeros((0, 6)), 3).ids.shape == (0, 3)


def test_the_memory_of_a_search_does_not_grow_with_the_vectors():
    peaks = []
    for count in (20_000, 80_000):
        index = VectorIndex(6, "l2")
        index.add(np.arange(count), make_vectors(count), np.zeros(count, int))
        queries = make_vectors(512, seed=1)
        tracemalloc.start()
        index.search(queries, 8, exclude=np.full(512, 1))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0] and peaks[1] < 60e6


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda index: index.add([0], np.ones((1, 6))), "has a vector with the id 0: remove it first"),
        (lambda index: index.add([1, 1], np.ones((2, 6))), "given once; received 1 twice"),
        (lambda index: index.add([-1], np.ones((1, 6))), "`ids` must not be negative; received -1"),
        (
            lambda index: index.add([1.5], np.ones((1, 6))),
            "`ids` must be a list of integers; received float64",
        ),
        (lambda index: index.add([1], np.ones((2, 6))), "one value for each of 2 vectors; received 1"),
        (lambda index: index.add([1], np.ones((1, 6)), [1, 2]), "`groups` must have one value for each of 1"),
        (lambda index: index.add([1], np.ones((1, 5))), r"shape \(vectors, 6\); received \(1, 5\)"),
        (lambda index: index.add([1], [["a"] * 6]), "`vectors` must be an array of numbers"),
        (lambda index: index.add([1], np.full((1, 6), np.nan)), "be finite; row 0 holds NaN"),
        (lambda index: index.add([1], np.full((1, 6), 1e16)), r"length 1e\+15; row 0 is longer"),
        (lambda index: index.remove([0, 1]), "no vector with the id 1"),
        (lambda index: index.search(np.ones((1, 6)), 0), "`k` must be at least 1; received 0"),
        (lambda index: index.search(np.ones((2, 6)), 1, [0]), "for each of 2 queries, -1 for none"),
        (lambda index: index.search(np.ones((1, 6)), 1, [-2]), "-1 for none; received -2"),
        (lambda index: VectorIndex(0), "`width` must be at least 1"),
        (lambda index: VectorIndex(3, "cosin"), "one of inner_product, cosine, l2; received 'cosin'"),
        (lambda index: VectorIndex(3, "l2", 5), "`model_hash` must be a text; received int"),
        (lambda index: VectorIndex(2, "cosine").add([0, 1], [[1, 0], [0, 0]]), "row 1 is all zeros"),
    ],
)
def test_other_arguments_are_refused_in_one_line_and_change_nothing(call, message):
    index, vectors = make_index()
    with pytest.raises(VectorIndexError, match=message) as caught:
        call(index)
    assert "\n" not in str(caught.value)
    np.testing.assert_array_equal(index.vectors(), vectors)
