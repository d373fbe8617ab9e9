"""The example scripts run from beginning to end, on small data."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"


@pytest.fixture
def run_example(tmp_path):
    for number in range(30):
        (tmp_path / f"{number}.txt").write_text(f"The sun stands at noon over house {number}.\n" * 10)

    def run_example(script: str, *words: str) -> str:
        command = [sys.executable, str(EXAMPLES / script), *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run_example


@pytest.mark.slow
def test_a_model_trains_on_a_folder_and_continues_a_prompt(run_example, tmp_path):
    printed = run_example("train_own_folder.py", ".", "--epochs", "1", "--prompt", "The sun")
    assert "'bits_per_byte'" in printed and "The sun" in printed
    assert (tmp_path / "my-model" / "config.json").is_file()


@pytest.mark.slow
def test_a_scheduler_reaches_the_whole_data(run_example):
    printed = run_example("curriculum_with_scheduler.py", "--data", ".", "--steps", "12")
    assert "'fraction': 1.0" in printed


@pytest.mark.slow
def test_a_resumed_run_ends_with_the_weights_of_one_that_was_not_stopped(run_example):
    printed = run_example("stop_and_resume.py", "--data", ".", "--steps", "6")
    assert "stopped after step 3" in printed and "same weights, bit for bit: True" in printed


def test_every_example_is_tested():
    tested = pathlib.Path(__file__).read_text()
    assert all(f'"{script.name}"' in tested for script in EXAMPLES.glob("*.py"))
