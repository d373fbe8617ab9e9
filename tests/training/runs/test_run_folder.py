"""The folders of runs: named by time and run, safe as file names, unique."""

from __future__ import annotations

import datetime
import pathlib

import pytest

from highnoon.config import ConfigError
from highnoon.training.checkpoints.checkpoint_state import state_problem
from highnoon.training.runs.run_folder import (
    is_run_folder,
    make_run_folder,
    require_run_name,
    require_same_name,
)

NOON = datetime.datetime(2026, 11, 27, 12, 17, 58)


@pytest.mark.parametrize(
    "name, folder",
    [
        (None, "2026-11-27_121758_3fa2c1d8"),
        ("baseline", "2026-11-27_121758_baseline"),
        ("lr=3e-4, wd 0.1", "2026-11-27_121758_lr=3e-4,-wd-0.1"),
        ("../../etc/passwd", "2026-11-27_121758_etc-passwd"),
        ("a\nb\x1b[31m", "2026-11-27_121758_a-b-31m"),
        ("Mittagslauf ö", "2026-11-27_121758_Mittagslauf-ö"),
        ("C:\\runs\\x. ", "2026-11-27_121758_C-runs-x"),
    ],
)
def test_a_folder_has_the_time_and_a_safe_name(name, folder, tmp_path):
    assert make_run_folder(tmp_path / "logs", name, "3fa2c1d8", NOON) == folder
    assert is_run_folder(folder) and [path.name for path in (tmp_path / "logs").iterdir()] == [folder]


def test_a_name_of_many_bytes_is_cut_between_characters(tmp_path):
    folder = make_run_folder(tmp_path, "ö" * 200, "3fa2c1d8", NOON)
    assert folder == "2026-11-27_121758_" + "ö" * 75 and is_run_folder(folder)


def test_two_runs_of_one_name_in_one_second_have_two_folders(tmp_path):
    first, second = (make_run_folder(tmp_path, "a", run_id, NOON) for run_id in ("11111111", "22222222"))
    assert (first, second) == ("2026-11-27_121758_a", "2026-11-27_121758_a_22222222")
    assert (tmp_path / second).is_dir()


@pytest.mark.parametrize("name", ["", "  ", "...", 3, "a\0b", "x" * 201, ["a"]])
def test_a_name_that_names_nothing_is_refused(name):
    with pytest.raises(ConfigError, match="`run_name` must"):
        require_run_name("run_name", name)


def test_a_resumed_run_keeps_its_name():
    folder = pathlib.Path("checkpoints/step_00000002")
    require_same_name(None, "a", folder)
    require_same_name("a", "a", folder)
    for saved, words in (("a", "is named 'a'"), (None, "has no name")):
        with pytest.raises(ConfigError, match=f"{words}, and a resumed run keeps that; .* leave `run_name`"):
            require_same_name("b", saved, folder)


@pytest.mark.parametrize("folder", ["..", ".", "a/b", "/a", "", "a\\b", ".hidden", 3])
def test_a_folder_in_a_checkpoint_is_no_path(folder):
    assert not is_run_folder(folder)
    assert "`run_folder`" in state_problem({"run_folder": folder})
