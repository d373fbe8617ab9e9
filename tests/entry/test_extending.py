"""What a user adds from outside of the package works like the package's own parts."""

from __future__ import annotations

import inspect
import json
import os
import pathlib
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


def run(corpus: pathlib.Path, folder: pathlib.Path, name: str, stop_after: int = 0) -> int:
    """Trains with an objective of one's own in another process, which may kill itself after a step."""
    command = [
        sys.executable,
        "-m",
        "tests.entry.own_objectives",
        name,
        str(corpus),
        str(folder),
        str(stop_after),
    ]
    done = subprocess.run(
        command,
        cwd=HERE.parents[1],
        env=os.environ | {"HIGHNOON_CACHE": str(folder.parent / "cache")},
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, -9), done.stderr[-2000:]
    return done.returncode


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ranking", "distillation"])
def test_an_objective_of_ones_own_is_resumed_bit_for_bit_after_a_kill(tmp_path, name):
    corpus = write_records(tmp_path)
    assert run(corpus, tmp_path / "whole", name) == 0
    assert run(corpus, tmp_path / "killed", name, stop_after=7) == -9
    assert run(corpus, tmp_path / "killed", name) == 0
    for file in ("model.safetensors", "optimizer.safetensors"):
        ends = [
            load_arrays(tmp_path / folder / "checkpoints" / "step_00000012" / file)
            for folder in ("whole", "killed")
        ]
        assert ends[0].keys() == ends[1].keys()
        for array, value in ends[0].items():
            np.testing.assert_array_equal(ends[1][array], value)


@pytest.mark.slow
def test_a_teacher_is_in_no_checkpoint(tmp_path):
    run(write_records(tmp_path), tmp_path / "run", "distillation")
    teacher = own_objectives.make_teacher()
    values = {np.asarray(weight).tobytes() for weight in teacher.weights if np.asarray(weight).size > 8}
    student = own_objectives.make_student()
    for folder in (tmp_path / "run" / "checkpoints").glob("step_*"):
        arrays = load_arrays(folder / "model.safetensors") | load_arrays(folder / "optimizer.safetensors")
        assert not [name for name, array in arrays.items() if array.tobytes() in values]
        assert len(load_arrays(folder / "model.safetensors")) == len(student.weights)
        state = json.loads((folder / "state.json").read_text())
        assert state["plan"]["stages"][0]["objective"]["name"] == "test/own_distillation"
        assert state["plan"]["stages"][0]["frozen_models"].keys() == {"teacher"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ranking", "distillation"])
def test_an_objective_of_ones_own_passes_the_battery(name):
    check_objective(
        getattr(own_objectives, f"make_{name}"),
        own_objectives.make_student if name == "distillation" else own_objectives.make_scorer,
        own_objectives.token_batch() if name == "distillation" else own_objectives.pair_batch(),
        reloads=name == "ranking",
    )


@pytest.mark.parametrize("objective", [own_objectives.Ranking, own_objectives.OwnDistillation])
def test_an_objective_of_ones_own_takes_at_most_40_lines(objective):
    assert len(inspect.getsource(objective).strip().splitlines()) <= 40
