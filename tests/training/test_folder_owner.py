"""One run at a time in a folder: the second is refused, the first loses nothing."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest

import highnoon as hn
from highnoon.files.folder_lock import LOCK_FILE, FolderLockedError, folder_lock, path_lock
from highnoon.models.arrays import load_arrays
from highnoon.training.checkpoints import checkpoint

PROGRAM = pathlib.Path(__file__).parent / "paired_run.py"
NUM_PAIRS = int(os.environ.get("HIGHNOON_TEST_PAIRS", "2"))  # with more, give pytest a longer --timeout
NUM_STEPS = 6


def start(corpus: str) -> subprocess.Popen[str]:
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    return subprocess.Popen([sys.executable, str(PROGRAM), corpus], **pipes)


def tell(process: subprocess.Popen[str], folder: pathlib.Path) -> None:
    process.stdin.write(f"{folder}\n")
    process.stdin.flush()


@pytest.mark.slow
def test_of_two_runs_in_one_folder_one_is_refused_and_the_other_whole(corpus, tmp_path):
    rng = np.random.default_rng(0)
    processes = [start(corpus), start(corpus)]
    try:
        assert [process.stdout.readline() for process in processes] == ["ready\n"] * 2
        for pair in range(NUM_PAIRS):
            folder = tmp_path / str(pair)
            first, second = rng.permutation(2)
            tell(processes[first], folder)
            time.sleep(rng.uniform(0.0, 0.5))
            tell(processes[second], folder)
            answers = [process.stdout.readline().strip() for process in processes]
            whole = answers.index("whole")
            words = f"{folder} is being written by process {processes[whole].pid} on"
            assert words in answers[1 - whole] and "choose another `checkpoint_dir`" in answers[1 - whole]
            require_whole(folder)
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def require_whole(folder: pathlib.Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        final = checkpoint.find_checkpoint(folder / "final")
    assert final.name == checkpoint.step_folder_name(NUM_STEPS)
    saved, kept = (load_arrays(path / "model.safetensors") for path in (folder / "model", final))
    assert saved.keys() == kept.keys() and all(np.array_equal(saved[name], kept[name]) for name in kept)
    assert len(list((folder / "logs").iterdir())) == 1
    assert not [path for path in folder.rglob(".*") if path.name.startswith(".")]


@pytest.fixture
def make_trainer(make_model, corpus):
    def make():
        trainer = hn.Trainer(make_model(), batch_size=4, jit_compile=False)
        return trainer.add_curriculum_stage("one", corpus, steps=2)

    return make


def test_a_folder_that_another_writes_is_refused_before_anything_is_read_or_moved(make_trainer, tmp_path):
    trainer = make_trainer()
    with folder_lock(tmp_path / "run"), pytest.raises(FolderLockedError, match="run is being written by"):
        trainer.train(checkpoint_dir=tmp_path / "run", log_dir=None, verbose=False)
    assert not (tmp_path / "run").exists()
    refused = pytest.raises(checkpoint.CheckpointError, match="saved is being written")
    with path_lock(tmp_path / "saved"), refused:
        trainer.save(tmp_path / "saved")


def test_the_lock_is_released_however_a_run_ends_and_a_trainer_trains_twice(make_trainer, tmp_path):
    trainer = make_trainer()
    where = {"checkpoint_dir": tmp_path / "run", "log_dir": tmp_path / "logs", "verbose": False}

    def fail(event):
        assert not (event["event"] == "train_begin" and (tmp_path / "run" / LOCK_FILE).is_file())

    with pytest.raises(AssertionError):
        trainer.train(**where, callbacks=[fail])
    trainer.train(**where)
    trainer.train(**where, resume_from=True, extend=True)
    assert not list(tmp_path.rglob(".*highnoon*"))
    assert checkpoint.find_checkpoint(tmp_path / "run" / "final").name == "step_00000002"


@pytest.mark.parametrize("is_chief", [True, False])
def test_only_the_chief_clears_what_killed_runs_left(make_model, corpus, tmp_path, monkeypatch, is_chief):
    """Another worker would remove the file of a role while the chief writes it."""
    trainer = hn.Trainer(make_model(), batch_size=1)
    trainer.add_curriculum_stage("only", corpus, steps=1)
    monkeypatch.setattr(type(trainer.replicas), "is_chief", property(lambda _: is_chief))
    unfinished = tmp_path / "checkpoints" / f".{checkpoint.BEST}.77.tmp"
    unfinished.parent.mkdir()
    unfinished.touch()
    trainer.train(checkpoint_dir=str(unfinished.parent), log_dir=None, verbose=False)
    assert unfinished.exists() == (not is_chief)
