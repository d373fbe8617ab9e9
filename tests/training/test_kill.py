"""Real processes, killed at random instants and started again, end with the bits of one never killed."""

from __future__ import annotations

import itertools
import os
import pathlib
import re
import subprocess
import sys
import time

import numpy as np
import pytest

from highnoon.callbacks.metrics_file import read_metrics
from highnoon.models.arrays import load_arrays
from highnoon.training.checkpoints import checkpoint
from highnoon.training.checkpoints.snapshot import OPTIMIZER_FILE

pytestmark = pytest.mark.slow

PROGRAM = pathlib.Path(__file__).parent / "killed_run.py"
INSTANTS = ("steps", "writing", "validating")  # what is waited for before a kill
NUM_KILLS = int(os.environ.get("HIGHNOON_TEST_KILLS", "3"))  # with more, give pytest a longer --timeout


def start(corpora: list[str], folder: pathlib.Path) -> subprocess.Popen:
    folder.mkdir(exist_ok=True)
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(PROGRAM), *corpora, str(folder)]
    with (folder / "output.txt").open("a") as output:
        return subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)


def kill_at(instant: str, process: subprocess.Popen, folder: pathlib.Path, rng: np.random.Generator) -> bool:
    """Kills a run at an instant of a kind; returns False where it ended before."""
    first = _last_step(folder)
    wanted_steps = int(rng.integers(2, 7))
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        taken = _last_step(folder) - first
        is_there = {
            "steps": taken >= wanted_steps,
            "writing": taken > 1 and any((folder / "checkpoints").glob(".step_*.tmp")),
            "validating": taken > 1 and (folder / "marks" / "validating").exists(),
        }[instant]
        if is_there:
            process.kill()
            process.wait()
            return True
        time.sleep(0.001)
    assert process.poll() == 0, (folder / "output.txt").read_text()[-4000:]
    return False


def _last_step(folder: pathlib.Path) -> int:
    marks = (folder / "marks").glob("step_*")
    return max((int(mark.name.removeprefix("step_")) for mark in marks), default=0)


def finish(corpora: list[str], folder: pathlib.Path) -> dict[str, np.ndarray]:
    assert start(corpora, folder).wait(240) == 0, (folder / "output.txt").read_text()[-4000:]
    final = checkpoint.find_checkpoint(folder / "checkpoints" / "final")
    return load_arrays(final / "model.safetensors") | load_arrays(final / OPTIMIZER_FILE)


def logged_steps(folder: pathlib.Path) -> list[tuple[str, int]]:
    (metrics,) = (folder / "logs").rglob("metrics.jsonl")
    return [(line["event"], line["step"]) for line in read_metrics(metrics) if line["event"] != "alert"]


def events_of_tensorboard(folder: pathlib.Path) -> list[tuple[str, int]]:
    """Returns what a reader of all event files sees that knows nothing of restarts."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    paths = sorted((folder / "logs").rglob("events.out.tfevents.*"))
    events = [event for path in paths for event in EventFileLoader(str(path)).Load()]
    return [(value.tag, event.step) for event in events for value in event.summary.value]


def curves_of_tensorboard(folder: pathlib.Path) -> dict[str, list[int]]:
    """Returns the steps of each curve as TensorBoard reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (log_dir,) = (folder / "logs").iterdir()
    events = EventAccumulator(str(log_dir), size_guidance={"tensors": 0}).Reload()
    return {tag: [event.step for event in events.Tensors(tag)] for tag in events.Tags()["tensors"]}


def files_of(folder: pathlib.Path) -> set[str]:
    """Returns the paths of all files and folders that a run left, without what is each run's own in them."""
    (log_dir,) = (folder / "logs").iterdir()
    paths = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    names = {path.replace(log_dir.name, "RUN") for path in paths}
    # A run that was started again has one more file of events each time.
    return {re.sub(r"(events\.out\.tfevents\.).*", r"\1*", name) for name in names}


def test_kills_anywhere_end_with_the_same_bits_each_step_logged_once_and_nothing_left_over(
    corpus, other_corpus, tmp_path
):
    corpora, whole_folder, rng = [corpus, other_corpus], tmp_path / "whole", np.random.default_rng(0)
    whole = finish(corpora, whole_folder)
    num_kills = num_runs = 0
    while num_kills < NUM_KILLS:
        killed = tmp_path / f"killed_{num_runs}"
        num_runs += 1
        instants = itertools.cycle(INSTANTS)
        while num_kills < NUM_KILLS and kill_at(next(instants), start(corpora, killed), killed, rng):
            num_kills += 1
        again = finish(corpora, killed)
        assert whole.keys() == again.keys()
        assert not [name for name in whole if whole[name].tobytes() != again[name].tobytes()]
        assert logged_steps(whole_folder) == logged_steps(killed)
        assert events_of_tensorboard(whole_folder) == events_of_tensorboard(killed)
        assert curves_of_tensorboard(whole_folder) == curves_of_tensorboard(killed)
        assert files_of(whole_folder) == files_of(killed), "temporary folders, locks or files are left over"
        log_points = [step for event, step in logged_steps(killed) if event == "log"]
        assert log_points == sorted(set(log_points))
    assert not list((tmp_path / "cache").rglob(".*"))
    print(f"{num_kills} kills over {num_runs} runs of {log_points[-1]} steps")
