"""Real processes on loopback train to the weights of one process, and survive the loss of a worker."""

from __future__ import annotations

import os
import pathlib
import signal
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

PROGRAM = pathlib.Path(__file__).parent / "worker_run.py"
STEPS = 8


def start(
    folder: pathlib.Path, corpus: str, num_workers: int, seconds_a_step: float = 0.0, steps_a_call: int = 1
) -> subprocess.Popen:
    folder.mkdir(exist_ok=True)
    program = [str(PROGRAM), corpus, str(folder), str(STEPS)]
    command = [sys.executable, *program]
    if num_workers > 1:
        launch = [sys.executable, "-m", "highnoon.cli", "launch", "--workers", str(num_workers)]
        command = [*launch, "--log-dir", str(folder), "--", *program]
    environment = os.environ | {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
        "SECONDS_A_STEP": str(seconds_a_step),
        "STEPS_A_CALL": str(steps_a_call),
        "HIGHNOON_CACHE": str(folder.parent / "cache"),
    }
    output = (folder / "output.txt").open("w")
    return subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)


def arrays_of(folder: pathlib.Path) -> dict[str, np.ndarray]:
    final = checkpoint.find_checkpoint(folder / "checkpoints" / "final")
    return load_arrays(final / "model.safetensors") | load_arrays(final / OPTIMIZER_FILE)


def run(folder: pathlib.Path, corpus: str, num_workers: int, steps_a_call: int = 1) -> dict[str, np.ndarray]:
    process = start(folder, corpus, num_workers, steps_a_call=steps_a_call)
    assert process.wait(280) == 0, (folder / "output.txt").read_text()[-4000:]
    return arrays_of(folder)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    lines = [f"{number} " + "the sun stood over the river " * (1 + number % 7) for number in range(40)]
    path.write_text("".join(f'{{"text": "{line}"}}\n' for line in lines))
    return str(path)


@pytest.fixture(scope="module")
def of_two_workers(corpus, tmp_path_factory) -> dict[str, np.ndarray]:
    return run(tmp_path_factory.mktemp("runs") / "two", corpus, 2)


def test_workers_give_the_weights_of_one_process(corpus, of_two_workers, tmp_path):
    one = run(tmp_path / "one", corpus, 1)
    of_four_workers = run(tmp_path / "four", corpus, 4, steps_a_call=2)
    assert "step 5\n" not in (tmp_path / "four" / "worker_0.log").read_text(), "no call took two steps"
    for num_workers, several in ((2, of_two_workers), (4, of_four_workers)):
        assert one.keys() == several.keys()
        for name, value in one.items():
            if value.dtype.kind == "f" and value.size:
                error = np.abs(value - several[name]).max() / max(np.abs(value).max(), 1e-8)
                assert error <= 1e-5, f"{name} is off by {error:.1e} with {num_workers} workers"


def test_the_others_stop_when_a_worker_is_killed_and_the_relaunch_ends_with_the_same_bits(
    corpus, of_two_workers, tmp_path
):
    folder = tmp_path / "killed"
    process = start(folder, corpus, 2, seconds_a_step=0.5)
    pid = _worker_at_step(folder, process, rank=1, step=5)
    os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    assert process.wait(60) != 0
    assert time.monotonic() - began < 60
    told = (folder / "output.txt").read_text()
    assert "worker 1" in told and "[worker 0]" in told
    again = run(folder, corpus, 2)
    assert of_two_workers.keys() == again.keys()
    assert not [name for name in again if of_two_workers[name].tobytes() != again[name].tobytes()]
    (metrics,) = (folder / "logs").rglob("metrics.jsonl")
    steps = [line["step"] for line in read_metrics(metrics) if line["event"] == "log"]
    assert steps == sorted(set(steps)) and steps[-1] == STEPS


def _worker_at_step(folder: pathlib.Path, launcher: subprocess.Popen, rank: int, step: int) -> int:
    """Waits until a worker has taken a step and returns its process id."""
    deadline = time.monotonic() + 200
    log = folder / f"worker_{rank}.log"
    while not (log.exists() and f"step {step}\n" in log.read_text()):
        assert launcher.poll() is None and time.monotonic() < deadline, (folder / "output.txt").read_text()
        time.sleep(0.05)
    children = pathlib.Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    for child in children:
        environment = pathlib.Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        if f"RANK={rank}".encode() in environment:
            return int(child)
    raise AssertionError(f"the launcher has no child of rank {rank}")
