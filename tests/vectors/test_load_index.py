"""A saved index: the same neighbors, a folder that is complete or as it was, and no damaged file is read."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import numpy as np
import pytest

from highnoon.files.folder_lock import FolderLockedError, path_lock
from highnoon.vectors import VectorIndex, VectorIndexError, load_index
from tests.files.dying_process import DIE_AFTER
from tests.vectors.conftest import METRICS, folder_hash, make_vectors


def make_index(count=30, metric="l2", seed=0):
    index = VectorIndex(6, metric, "model-a")
    index.add(np.arange(count), make_vectors(count, seed=seed), np.arange(count) // 4)
    return index


@pytest.mark.parametrize("metric", METRICS)
def test_a_loaded_index_finds_the_same(tmp_path, metric):
    index, queries = make_index(metric=metric), make_vectors(5, seed=1)
    assert index.save(tmp_path / "index") == tmp_path / "index"
    again = load_index(tmp_path / "index", "model-a")
    for exclude in (None, np.arange(5)):
        for one, other in zip(
            index.search(queries, 6, exclude), again.search(queries, 6, exclude), strict=True
        ):
            np.testing.assert_array_equal(one, other)
    assert (again.metric, again.width, again.model_hash, len(again)) == (metric, 6, "model-a", 30)


def test_vectors_are_memory_mapped_and_read_only(tmp_path):
    make_index().save(tmp_path / "index")
    part = load_index(tmp_path / "index")._stored._parts[0]
    assert isinstance(part, np.memmap) and not part.flags.writeable


def test_an_empty_index_is_saved_and_loaded(tmp_path):
    VectorIndex(6).save(tmp_path / "index")
    again = load_index(tmp_path / "index", "")
    assert len(again) == 0 and again.search(make_vectors(1), 2).ids.tolist() == [[-1, -1]]


def test_a_loaded_index_can_be_changed_and_saved_over_itself(tmp_path):
    make_index().save(tmp_path / "index")
    index = load_index(tmp_path / "index")
    index.add([100], np.full((1, 6), 9.0))
    index.remove_groups([0])
    before = index.vectors()
    index.save(tmp_path / "index")
    again = load_index(tmp_path / "index")
    np.testing.assert_array_equal(again.vectors(), before)
    assert again.ids.tolist() == [*range(4, 30), 100]
    np.testing.assert_array_equal(index.vectors(), before)  # the old file is still mapped


def test_the_files_do_not_depend_on_the_order_of_adding(tmp_path):
    vectors, order = make_vectors(30), np.random.default_rng(0).permutation(30)
    other = VectorIndex(6, "l2", "model-a")
    for part in np.array_split(order, 4):
        other.add(part, vectors[part], part // 4)
    other.add([99], vectors[:1])
    other.remove([99])
    make_index().save(tmp_path / "one")
    other.save(tmp_path / "other")
    one, two = ((tmp_path / name / "manifest.json").read_text() for name in ("one", "other"))
    assert one == two


def test_further_files_are_in_the_same_folder_and_its_manifest(tmp_path):
    make_index().save(tmp_path / "index", lambda folder: (folder / "more.txt").write_text("more"))
    assert "more.txt" in json.loads((tmp_path / "index" / "manifest.json").read_text())
    (tmp_path / "index" / "more.txt").write_text("mess")
    with pytest.raises(VectorIndexError, match="damaged: the bytes of more.txt have changed"):
        load_index(tmp_path / "index")


def test_loading_and_searching_write_nothing(tmp_path):
    make_index().save(tmp_path / "index")
    before = folder_hash(tmp_path)
    load_index(tmp_path / "index", "model-a").search(make_vectors(3), 2)
    assert folder_hash(tmp_path) == before


def test_an_index_of_another_model_is_refused_before_its_vectors_are_read(tmp_path):
    make_index().save(tmp_path / "index")
    (tmp_path / "index" / "vectors.npy").unlink()
    began = time.perf_counter()
    message = "computed by the model model-a; expected model-b; load that model, or build the index again"
    with pytest.raises(VectorIndexError, match=message):
        load_index(tmp_path / "index", "model-b")
    assert time.perf_counter() - began < 0.5


@pytest.mark.parametrize("name", ["ids.npy", "groups.npy", "vectors.npy", "index.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_file_is_refused_in_one_line(tmp_path, name, damage):
    make_index().save(tmp_path / "index")
    file = tmp_path / "index" / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "remove":
        file.unlink()
    else:
        file.write_bytes(data if damage == "flip" else data[:-3])
    with pytest.raises(VectorIndexError, match="damaged|must be the folder of an index") as caught:
        load_index(tmp_path / "index", "model-a")
    assert "\n" not in str(caught.value)


def test_a_folder_without_an_index_is_refused_and_not_replaced(tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "letter.txt").write_text("dear")
    with pytest.raises(VectorIndexError, match="must be the folder of an index; it holds `letter.txt`"):
        load_index(tmp_path / "own")
    with pytest.raises(VectorIndexError, match="does not exist; did you mean"):
        load_index(tmp_path / "onw")
    with pytest.raises(VectorIndexError, match="must be a new folder or one that holds an index"):
        make_index().save(tmp_path / "own")
    assert [path.name for path in (tmp_path / "own").iterdir()] == ["letter.txt"]


def test_an_unknown_kind_of_index_is_named(tmp_path):
    class Other(VectorIndex):
        kind = "exactt"

    index = Other(6)
    index.save(tmp_path / "index")
    with pytest.raises(VectorIndexError, match="no kind of index `exactt`; did you mean `exact`"):
        load_index(tmp_path / "index")


def test_a_second_writer_is_refused_and_changes_nothing(tmp_path):
    make_index().save(tmp_path / "index")
    with path_lock(tmp_path / "index"), pytest.raises(FolderLockedError):
        make_index(5).save(tmp_path / "index")
    assert len(load_index(tmp_path / "index")) == 30


# Saves another index into each folder, and dies before the n-th call that changes the disk.
KILLED = (
    DIE_AFTER
    + """
import os, pathlib, sys
import numpy as np
from highnoon.files import whole_folder
from highnoon.vectors import VectorIndex, index_folder

CHANGING = ((os, ["replace", "mkdir", "fsync", "open"]), (whole_folder, ["exchange"]),
            (np, ["save"]), (np.lib.format, ["open_memmap"]))

for last, path in enumerate(sys.argv[1:]):
    if not (child := os.fork()):
        die_after(last, CHANGING)
        index = VectorIndex(6)
        index.add(np.arange(3), np.ones((3, 6)))
        index.save(path)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
)
NUM_KILLS = 30


def test_killed_while_it_saves_the_old_or_the_new_index_is_there(tmp_path):
    paths = [tmp_path / str(number) / "index" for number in range(NUM_KILLS)]
    for path in paths:
        make_index().save(path)
    command = [sys.executable, "-c", KILLED, *map(str, paths)]
    codes = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert codes[0] == "9" and codes[-1] == "0", "more kills are needed to reach the end"
    counts = [len(load_index(path)) for path in paths]
    assert set(counts) == {3, 30} and sorted(counts, reverse=True) == counts
    for path in paths:
        make_index(7).save(path)
        assert len(load_index(path)) == 7 and [entry.name for entry in path.parent.iterdir()] == ["index"]
