"""A folder is replaced as a whole: killed at any instant, the old or the new one is there."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

from highnoon.files import whole_folder as module
from highnoon.files.folder_lock import FolderLockedError, path_lock
from highnoon.files.whole_folder import recover_folder, whole_folder
from tests.files.dying_process import DIE_AFTER

# Processes that save `new` into a folder each; the N-th dies, without any cleaning up, before the N-th call
# of a function that changes the disk. Prints their exit codes.
KILLED = (
    DIE_AFTER
    + """
import os, pathlib, shutil, sys
from highnoon.files import whole_folder as module

CHANGING = ((os, ["replace", "mkdir", "unlink", "rmdir", "fsync", "open", "link"]),
            (module, ["exchange"]), (shutil, ["rmtree"]))

if sys.argv[1] == "False":
    module.exchange = lambda one, other: False
for last, path in enumerate(sys.argv[2:]):
    if not (child := os.fork()):
        die_after(last, CHANGING)
        with module.whole_folder(pathlib.Path(path)) as new:
            for name in ("own", "second"):
                with open(new / name, "w") as stream:
                    stream.write("new")
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
)
NUM_KILLS = 45


@pytest.fixture
def folder(tmp_path):
    with whole_folder(tmp_path / "folder") as new:
        (new / "own").write_text("old")
        (new / "gone").write_text("old")
    (tmp_path / "folder" / "other").write_text("of its owner")
    (tmp_path / "folder" / "sub").mkdir()
    (tmp_path / "folder" / "sub" / "deep").write_text("of its owner")
    return tmp_path / "folder"


@pytest.fixture(params=[True, False], ids=["exchange", "two renames"])
def can_exchange(request, monkeypatch):
    if not request.param:
        monkeypatch.setattr(module, "exchange", lambda one, other: False)
    return request.param


def contents(folder: pathlib.Path) -> dict[str, str]:
    files = [file for file in folder.rglob("*") if file.is_file() and file.name != "manifest.json"]
    return {file.relative_to(folder).as_posix(): file.read_text() for file in files}


OTHERS = {"other": "of its owner", "sub/deep": "of its owner"}
OLD = {"own": "old", "gone": "old", **OTHERS}


def test_own_files_are_replaced_and_others_stay(folder, can_exchange):
    with whole_folder(folder) as new:
        (new / "more").write_text("new")
    assert contents(folder) == {"more": "new", **OTHERS}
    assert [entry.name for entry in folder.parent.iterdir()] == ["folder"]


def test_names_of_own_files_are_told_where_there_is_no_manifest(folder):
    (folder / "manifest.json").unlink()
    with whole_folder(folder, {"own"}) as new:
        (new / "more").write_text("new")
    assert contents(folder) == {"more": "new", "gone": "old", **OTHERS}


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_error_while_writing_changes_nothing(folder, error):
    with pytest.raises(error), whole_folder(folder) as new:
        (new / "own").write_text("half")
        raise error
    assert contents(folder) == OLD
    assert [entry.name for entry in folder.parent.iterdir()] == ["folder"]


def test_a_failing_last_move_brings_the_old_folder_back(folder, monkeypatch):
    move = os.replace

    def fail_at_the_end(source, target):
        if source.name.endswith(".tmp"):
            raise OSError("no")
        move(source, target)

    monkeypatch.setattr(module, "exchange", lambda one, other: False)
    monkeypatch.setattr(module.os, "replace", fail_at_the_end)
    with pytest.raises(OSError, match="no"), whole_folder(folder) as new:
        (new / "own").write_text("new")
    assert contents(folder) == OLD
    assert [entry.name for entry in folder.parent.iterdir()] == ["folder"]


def test_an_error_of_writing_names_the_path_and_what_to_do(folder):
    with pytest.raises(OSError, match=r"free disk space.*folder'$"), whole_folder(folder):
        raise OSError(28, "No space left on device")


def test_a_link_to_a_folder_stays_a_link(folder):
    link = folder.with_name("link")
    link.symlink_to(folder)
    with whole_folder(link) as new:
        (new / "own").write_text("new")
    assert link.is_symlink() and contents(folder) == {"own": "new", **OTHERS}


def test_a_second_writer_of_one_path_is_refused_and_changes_nothing(folder):
    with whole_folder(folder) as new:
        (new / "own").write_text("new")
        with pytest.raises(FolderLockedError, match="another thread"), whole_folder(folder):
            pass
    assert contents(folder)["own"] == "new"


@pytest.mark.parametrize("exchanges", [True, False], ids=["exchange", "two renames"])
def test_killed_at_any_instant_the_old_or_the_new_is_there_and_the_next_save_leaves_nothing(
    tmp_path, exchanges
):
    def save(target: pathlib.Path, text: str) -> None:
        with whole_folder(target) as new:
            (new / "own").write_text(text)
            (new / "second").write_text(text)

    paths = [tmp_path / str(last) / "folder" for last in range(NUM_KILLS)]
    for path in paths:
        save(path, "old")
        (path / "other").write_text("of its owner")
    command = [sys.executable, "-c", KILLED, str(exchanges), *map(str, paths)]
    codes = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    for path in paths:
        recover_folder(path)
        found = contents(path)
        assert found in ({"own": text, "second": text, "other": "of its owner"} for text in ("old", "new"))
        save(path, "next")
        assert contents(path) == {"own": "next", "second": "next", "other": "of its owner"}
        assert [entry.name for entry in path.parent.iterdir()] == ["folder"]
    # The last ones were not killed at all, so every instant was tried.
    assert set(codes) == {"0", "9"} and codes.index("0") > 20


def test_a_folder_that_an_older_version_left_between_two_renames_comes_back(tmp_path):
    for kept in ({"old"}, {"old", "new"}):
        left = tmp_path / f".model{len(kept)}.ab_12xyz"
        for name in kept:
            (left / name).mkdir(parents=True)
            (left / name / "own").write_text(name)
        path = tmp_path / f"model{len(kept)}"
        recover_folder(path)
        assert contents(path) == {"own": "new" if "new" in kept else "old"}


def test_leftovers_of_others_and_of_the_living_are_left_alone(tmp_path):
    step, strange = tmp_path / ".step_1.77.tmp", tmp_path / ".thesis.77.tmp"
    for path in (step, strange):
        path.mkdir()
    with path_lock(tmp_path / "step_1"):
        module.clear_leftovers(tmp_path, module.re.compile(r"step_\d"))
        assert step.exists()
    module.clear_leftovers(tmp_path, module.re.compile(r"step_\d"))
    assert not step.exists() and strange.exists()
