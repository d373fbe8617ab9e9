"""Four stages of tasks, killed at random and resumed, end with the bits of a run that was never killed."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from highnoon.models.arrays import load_arrays
from highnoon.training.checkpoints import checkpoint
from highnoon.training.checkpoints.snapshot import OPTIMIZER_FILE

pytestmark = pytest.mark.slow

PROGRAM = pathlib.Path(__file__).parent / "killed_task_mix.py"
NUM_STEPS = 24


def run(folder: pathlib.Path, most_steps: int = NUM_STEPS) -> list[int]:
    """Runs the program, kills it once it has taken `most_steps` steps, and returns the steps it took."""
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(PROGRAM), str(folder)]
    taken: list[int] = []
    with (
        (folder.parent / f"{folder.name}.txt").open("a+") as errors,
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("step "):
                taken.append(int(line.split()[1]))
            if len(taken) == most_steps and most_steps < NUM_STEPS:
                process.kill()
        is_killed = process.wait() < 0
        errors.seek(0)
        assert is_killed or process.returncode == 0, errors.read()[-4000:]
    return taken


def final_arrays(folder: pathlib.Path) -> dict[str, np.ndarray]:
    final = checkpoint.find_checkpoint(folder / "checkpoints" / "final")
    return load_arrays(final / "model.safetensors") | load_arrays(final / OPTIMIZER_FILE)


def test_four_stages_of_tasks_killed_at_random_and_resumed_end_with_the_same_bits(tmp_path):
    rng = np.random.default_rng(16)
    assert run(tmp_path / "whole") == list(range(1, NUM_STEPS + 1))
    first = run(tmp_path / "killed", int(rng.integers(9, 18)))
    rest = run(tmp_path / "killed")
    assert first[0] == 1 < rest[0] <= first[-1] + 1 and rest[-1] == NUM_STEPS
    whole, killed = final_arrays(tmp_path / "whole"), final_arrays(tmp_path / "killed")
    assert whole.keys() == killed.keys() and len(whole) > 20
    assert not [name for name in whole if whole[name].tobytes() != killed[name].tobytes()]
