"""A folder is replaced as a whole, and comes back where the last move fails."""

from __future__ import annotations

import os

import pytest

from highnoon.models import whole_folder as module
from highnoon.models.whole_folder import whole_folder


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "own").write_text("old")
    (tmp_path / "folder" / "other").write_text("of its owner")
    return tmp_path / "folder"


def contents(folder) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.iterdir()}


def test_own_files_are_replaced_and_others_stay(folder):
    with whole_folder(folder, {"own", "more"}) as new:
        (new / "more").write_text("new")
    assert contents(folder) == {"more": "new", "other": "of its owner"}


def test_an_error_while_writing_changes_nothing(folder):
    with pytest.raises(ZeroDivisionError), whole_folder(folder, {"own"}) as new:
        (new / "own").write_text("half")
        raise ZeroDivisionError
    assert contents(folder) == {"own": "old", "other": "of its owner"}
    assert [entry.name for entry in folder.parent.iterdir()] == ["folder"]


def test_a_failing_last_move_brings_the_old_folder_back(folder, monkeypatch):
    move = os.replace

    def fail_at_the_end(source, target):
        if source.name == "new":
            raise OSError("no")
        move(source, target)

    monkeypatch.setattr(module.os, "replace", fail_at_the_end)
    with pytest.raises(OSError, match="no"), whole_folder(folder, {"own"}) as new:
        (new / "own").write_text("new")
    assert contents(folder) == {"own": "old", "other": "of its owner"}
    assert [entry.name for entry in folder.parent.iterdir()] == ["folder"]
