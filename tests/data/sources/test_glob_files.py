"""Patterns of files."""

from __future__ import annotations

import glob
import os
import pathlib
import time

import pytest

from highnoon.data import DataError, Files
from highnoon.data.sources.glob_files import glob_files


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    for name in (
        "a.txt",
        "b.md",
        "x/a.txt",
        "x/y/a.txt",
        "x/y/b.md",
        "x[1]/a.txt",
        ".h/a.txt",
        "x/.h.txt",
        "z/x/a.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


@pytest.mark.parametrize(
    "pattern",
    [
        "*.txt",
        "**/*.txt",
        "**",
        "**/x/*",
        "**/x/**/*.txt",
        "x/**",
        "*/**/*.txt",
        "x[[]1]/**/*.txt",
        "**/**/*.md",
        "?.txt",
        "x/**/y/*",
        ".h/**/*.txt",
        "none/**/*.txt",
        "[!.]*/*.txt",
        "./**/*.txt",
        "x/../**/*.txt",
    ],
)
@pytest.mark.parametrize("is_relative", [True, False])
def test_without_links_the_files_are_those_of_the_standard_library(
    root: pathlib.Path, monkeypatch: pytest.MonkeyPatch, pattern: str, is_relative: bool
) -> None:
    monkeypatch.chdir(root)
    asked = pattern if is_relative else os.path.join(glob.escape(str(root)), pattern)
    expected = {path for path in map(pathlib.Path, glob.glob(asked, recursive=True)) if path.is_file()}
    assert glob_files(asked) == sorted(expected)


def test_links_that_lead_back_end_the_search(root: pathlib.Path) -> None:
    expected = glob_files(f"{root}/**/*.txt")
    for folder in (root, root / "x", root / "x" / "y", root / "z"):
        for number in range(8):
            (folder / f"loop{number}").symlink_to(root, target_is_directory=True)
    started = time.monotonic()
    assert glob_files(f"{root}/**/*.txt") == expected
    assert time.monotonic() - started < 1
    assert [document.text for document in Files(f"{root}/**/b.md").documents()] == ["b.md", "x/y/b.md"]


def test_a_linked_folder_elsewhere_is_read(
    root: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "c.txt").write_text("c")
    (root / "x" / "linked").symlink_to(other)
    assert root / "x" / "linked" / "c.txt" in glob_files(f"{root}/**/*.txt")


def test_many_searches_of_all_folders_are_refused(root: pathlib.Path) -> None:
    with pytest.raises(DataError, match=r"more than 3 times"):
        glob_files(f"{root}/**/a/**/b/**/c/**/*.txt")
