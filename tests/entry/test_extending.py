"""What a user adds from outside of the package works like the package's own parts."""

from __future__ import annotations

import inspect
import json
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest

from highnoon.models.arrays import load_arrays
from highnoon.testing.check_objective import check_objective

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))
import own_objectives  # noqa: E402


def write_records(folder: pathlib.Path) -> pathlib.Path:
    rng = np.random.default_rng(0)
    words = "sun moon star stone river wind".split()
    lines = [json.dumps({"text": " ".join(rng.choice(words, size=8))}) for _ in range(60)]
    (folder / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "corpus.jsonl"


def train_and_kill(name: str, corpus: pathlib.Path, folder: pathlib.Path, step: int) -> None:
    """Trains with an objective of one's own in another process, which kills itself after a step."""
    command = [sys.executable, str(HERE / "own_objectives.py"), name, str(corpus), str(folder), str(step)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ranking", "distillation"])
def test_an_objective_of_ones_own_is_resumed_bit_for_bit_after_a_kill(tmp_path, name):
    corpus, whole, killed = write_records(tmp_path), tmp_path / "whole", tmp_path / "killed"
    own_objectives.train(name, corpus, whole)
    train_and_kill(name, corpus, killed, step=7)
    own_objectives.train(name, corpus, killed)
    for file in ("model.safetensors", "optimizer.safetensors"):
        ends = [load_arrays(folder / "checkpoints" / "step_00000012" / file) for folder in (whole, killed)]
        assert ends[0].keys() == ends[1].keys()
        for array, value in ends[0].items():
            np.testing.assert_array_equal(ends[1][array], value)
    if name == "distillation":
        check_teacher_is_in_no_checkpoint(whole / "checkpoints")


def check_teacher_is_in_no_checkpoint(checkpoints: pathlib.Path) -> None:
    teacher, student = own_objectives.make_teacher(), own_objectives.make_student()
    values = {np.asarray(weight).tobytes() for weight in teacher.weights if np.any(np.asarray(weight))}
    assert len(values) == 3
    folders = list(checkpoints.glob("step_*"))
    assert folders
    for folder in folders:
        weights = load_arrays(folder / "model.safetensors")
        assert len(weights) == len(student.weights)
        arrays = weights | load_arrays(folder / "optimizer.safetensors")
        assert not [name for name, array in arrays.items() if array.tobytes() in values]
        stage = json.loads((folder / "state.json").read_text())["plan"]["stages"][0]
        assert stage["objective"]["name"] == "test/own_distillation"
        assert stage["frozen_models"].keys() == {"teacher"}


@pytest.mark.slow
def test_a_ranking_of_ones_own_passes_the_battery():
    check_objective(
        own_objectives.make_ranking, own_objectives.make_scorer, own_objectives.pair_batch(), jax=False
    )


@pytest.mark.slow
def test_a_distillation_of_ones_own_passes_the_battery():
    check_objective(
        own_objectives.make_distillation,
        own_objectives.make_student,
        own_objectives.token_batch(),
        jax=False,
    )


@pytest.mark.parametrize("objective", [own_objectives.Ranking, own_objectives.OwnDistillation])
def test_an_objective_of_ones_own_takes_at_most_40_lines(objective):
    assert len(inspect.getsource(objective).strip().splitlines()) <= 40
