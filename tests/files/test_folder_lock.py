"""One writer at a time: across processes, threads, and the deaths of either."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import threading

import pytest

from highnoon.files.folder_lock import LOCK_FILE, FolderLockedError, folder_lock, path_lock

HOLDER = """
import pathlib, sys
from highnoon.files.folder_lock import folder_lock
with folder_lock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_another_process_is_refused_with_the_owner_named_until_the_owner_dies(tmp_path):
    folder = tmp_path / "run"
    command = [sys.executable, "-c", HOLDER, str(folder)]
    owner = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert owner.stdout.readline() == b"held\n"
        words = rf"is being written by process {owner.pid} on .* since \d{{4}}-.*; wait .*, or choose another"
        with pytest.raises(FolderLockedError, match=words) as error, folder_lock(folder):
            pass
        assert "\n" not in str(error.value)
    finally:
        owner.kill()
        owner.communicate()
    assert (folder / LOCK_FILE).exists()
    with folder_lock(folder):
        pass
    assert not (folder / LOCK_FILE).exists()


@pytest.mark.parametrize("lock", [folder_lock, path_lock])
def test_another_thread_of_the_process_is_refused(tmp_path, lock):
    errors = []

    def enter():
        try:
            with lock(tmp_path / "run"):
                pass
        except FolderLockedError as error:
            errors.append(str(error))

    with lock(tmp_path / "run"):
        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
    assert len(errors) == 1 and f"this process {os.getpid()}, another thread" in errors[0]
    enter()
    assert len(errors) == 1


@pytest.mark.parametrize("lock, name", [(folder_lock, LOCK_FILE), (path_lock, "../.run.highnoon-lock")])
def test_a_lock_file_that_cannot_be_made_is_an_error_and_no_endless_wait(tmp_path, lock, name):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(tmp_path / "nowhere" / "file")
    with pytest.raises(FileNotFoundError, match="highnoon.lock"), lock(tmp_path / "run"):
        pass


def test_two_names_of_one_folder_are_one_lock(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    with folder_lock(tmp_path / "run"), pytest.raises(FolderLockedError), folder_lock(tmp_path / "link"):
        pass


def test_of_many_threads_at_once_never_two_are_inside(tmp_path):
    inside, most, refused = [], [], []

    def work():
        for _ in range(40):
            try:
                with folder_lock(tmp_path / "run"):
                    inside.append(1)
                    most.append(len(inside))
                    inside.pop()
            except FolderLockedError:
                refused.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1} and len(most) + len(refused) == 160


def test_a_folder_that_was_made_for_the_lock_alone_goes_with_it(tmp_path):
    with folder_lock(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()
    assert not list(tmp_path.iterdir())
    (tmp_path / "kept").mkdir()
    with folder_lock(tmp_path / "kept"):
        pass
    assert (tmp_path / "kept").is_dir()


def test_a_folder_that_goes_while_it_is_made_is_made_again(tmp_path, monkeypatch):
    folder, mkdir, races = tmp_path / "run", pathlib.Path.mkdir, [FileExistsError, FileNotFoundError]

    def race(path, *args, **kwargs):
        if path == folder and races:
            raise races.pop()(path)
        mkdir(path, *args, **kwargs)

    monkeypatch.setattr(pathlib.Path, "mkdir", race)
    with folder_lock(folder):
        assert folder.is_dir() and not races
    folder.write_text("a file")
    with pytest.raises(FileExistsError), folder_lock(folder):
        pass
