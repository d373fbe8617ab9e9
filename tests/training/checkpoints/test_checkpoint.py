"""Checkpoint folders: whole or absent, found, and skipped when damaged."""

from __future__ import annotations

import errno
import json

import pytest

from highnoon.files.step_folders import checkpoint_in
from highnoon.training.checkpoints import checkpoint
from highnoon.training.checkpoints.checkpoint import CheckpointError


def write_step(directory, step: int, run_id: str = "abc"):
    folder = directory / checkpoint.step_folder_name(step)

    def files(unfinished):
        checkpoint.write_json(unfinished / checkpoint.STATE, {"run_id": run_id, "step": step})
        (unfinished / "model.safetensors").write_bytes(bytes(range(100)))

    checkpoint.write_folder(folder, files)
    checkpoint.point_at(folder)
    return folder


@pytest.mark.parametrize("spelling", ["latest", "", "step_00000020"])
def test_a_checkpoint_is_found_by_folder_directory_and_latest(tmp_path, spelling):
    write_step(tmp_path, 10)
    newest = write_step(tmp_path, 20)
    assert checkpoint.find_checkpoint(tmp_path / spelling) == newest


def test_latest_names_the_folder_even_next_to_a_higher_step(tmp_path):
    write_step(tmp_path, 20)
    older = write_step(tmp_path, 10)
    assert checkpoint.find_checkpoint(tmp_path / "latest") == older


@pytest.mark.parametrize("harm", ["truncate", "flip", "remove", "manifest"])
def test_a_damaged_folder_is_skipped_for_the_one_before(tmp_path, harm):
    good, bad = write_step(tmp_path, 10), write_step(tmp_path, 20)
    weights = bad / "model.safetensors"
    if harm == "truncate":
        weights.write_bytes(weights.read_bytes()[:50])
    elif harm == "flip":
        weights.write_bytes(b"\xff" + weights.read_bytes()[1:])
    elif harm == "remove":
        weights.unlink()
    else:
        (bad / checkpoint.MANIFEST).write_text("{")
    with pytest.warns(UserWarning, match="step_00000020 is damaged"):
        assert checkpoint.find_checkpoint(tmp_path / "latest") == good


def test_a_folder_that_is_no_checkpoint_is_an_error(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    for path in (tmp_path, tmp_path / "absent", tmp_path / "latest"):
        with pytest.raises(CheckpointError, match="no checkpoint at"):
            checkpoint.find_checkpoint(path)


def test_a_full_disk_leaves_earlier_checkpoints_and_no_rubbish(tmp_path):
    good = write_step(tmp_path, 10)

    def fill(unfinished):
        (unfinished / "model.safetensors").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(CheckpointError, match="No space left on device"):
        checkpoint.write_folder(tmp_path / checkpoint.step_folder_name(20), fill)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", good.name]
    assert checkpoint.find_checkpoint(tmp_path / "latest") == good


def test_an_interrupted_write_leaves_nothing(tmp_path):
    def interrupt(unfinished):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checkpoint.write_folder(tmp_path / "step_00000001", interrupt)
    assert not list(tmp_path.iterdir())


def test_a_folder_whose_replacement_was_cut_short_is_found_and_the_rest_removed(tmp_path):
    folder = write_step(tmp_path, 10)
    folder.rename(tmp_path / ".step_00000010.77.old")
    half = tmp_path / ".step_00000020.77.tmp"
    half.mkdir()
    (tmp_path / ".latest.77.tmp").write_text("step_000")
    assert checkpoint.step_folders(tmp_path) == [folder]
    assert checkpoint.find_checkpoint(tmp_path / "latest") == folder
    folder.rename(tmp_path / ".step_00000010.77.old")
    assert checkpoint.find_checkpoint(folder) == folder
    checkpoint.clear_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", folder.name]


def test_replacing_a_folder_keeps_files_that_it_did_not_write(tmp_path):
    folder = write_step(tmp_path, 10)
    (folder / "mine.txt").write_text("kept")
    write_step(tmp_path, 10)
    assert (folder / "mine.txt").read_text() == "kept"
    assert checkpoint.damage(folder) is None


def test_the_names_of_training_guides_are_views_of_a_checkpoint(tmp_path, monkeypatch):
    folder = write_step(tmp_path / "checkpoints", 10)
    checkpoint.point_at(folder, "best")
    for name in ("checkpoints/hatching_step_10.pt", "hatching_step_10", "hatching_best.pt", "hatching_best"):
        assert checkpoint.find_checkpoint(tmp_path / name) == folder
    monkeypatch.chdir(tmp_path)
    assert checkpoint.find_checkpoint("hatching_best.pt").resolve() == folder
    with pytest.raises(CheckpointError, match=r"step_00000005 is not there; the steps are step_00000010\)"):
        checkpoint.find_checkpoint("hatching_step_5.pt")
    with pytest.warns(UserWarning, match="step_00000015 is not there; the steps are step_00000010"):
        assert checkpoint.find_checkpoint("hatching_step_15.pt").resolve() == folder
    (tmp_path / "hatching_best.pt").write_bytes(b"a file of another program")
    with pytest.raises(CheckpointError, match="hatching_best.pt"):
        checkpoint.find_checkpoint("hatching_best.pt")


def test_a_bare_name_is_looked_for_among_the_checkpoints_of_the_run(tmp_path, monkeypatch):
    folder = write_step(tmp_path / "own", 10)
    checkpoint.point_at(folder, "best")
    monkeypatch.chdir(tmp_path)
    for name in ("hatching_step_10.pt", "hatching_best", "best", "step_00000010"):
        assert checkpoint.find_checkpoint(checkpoint_in(name, tmp_path / "own")) == folder
    for name in ("elsewhere/best", "texts"):
        assert checkpoint_in(name, tmp_path / "own") == name
    for name in ("hatching_step_9", "step_00000009", "hatching_step_9.pt"):
        with pytest.raises(CheckpointError, match="step_00000009 is not there; the steps are step_00000010"):
            checkpoint.find_checkpoint(checkpoint_in(name, tmp_path / "own"))
    assert checkpoint_in("hatching_step_9", tmp_path / "empty") == "hatching_step_9"


def test_pruning_keeps_the_newest(tmp_path):
    for step in (5, 100, 20):
        write_step(tmp_path, step)
    checkpoint.prune(tmp_path, keep=2)
    assert [path.name for path in checkpoint.step_folders(tmp_path)] == ["step_00000020", "step_00000100"]


def test_a_new_run_sets_the_checkpoints_of_another_aside(tmp_path):
    write_step(tmp_path, 10, run_id="old")
    write_step(tmp_path, 20, run_id="old")
    target = checkpoint.set_aside_older_run(tmp_path, "new")
    assert target == tmp_path / "run_old"
    assert checkpoint.step_folders(tmp_path) == []
    assert checkpoint.find_checkpoint(target / "latest").name == "step_00000020"
    write_step(tmp_path, 10, run_id="new")
    assert checkpoint.set_aside_older_run(tmp_path, "new") is None


def test_a_foreign_folder_is_never_replaced(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(CheckpointError, match="no saved trainer"):
        checkpoint.require_own_folder(tmp_path)


def test_manifest_lists_every_file_with_size_and_hash(tmp_path):
    folder = write_step(tmp_path, 1)
    manifest = json.loads((folder / checkpoint.MANIFEST).read_text())
    assert set(manifest) == {"model.safetensors", checkpoint.STATE, "digest"}
    assert manifest["model.safetensors"]["bytes"] == 100
