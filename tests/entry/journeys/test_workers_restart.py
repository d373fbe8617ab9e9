"""Two workers train by the command line; one is killed, and the run ends as if nothing had happened."""

import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

from highnoon.cli.__main__ import main
from highnoon.models.arrays import load_arrays

pytestmark = pytest.mark.slow

STEPS = 12
TINY = (
    "preset=highnoon-nano model.embedding_dim=16 model.num_heads=2 model.num_reasoning_blocks=1 "
    "model.block_pattern=attention+mlp model.ffn_dim=32 model.max_seq_length=32 training.max_seq_length=32 "
    "training.batch_size=4 training.learning_rate=3e-3 checkpoint_interval=3 log_interval=1 jit_compile=false"
).split()


def launch(folder, name, *options):
    words = [sys.executable, "-u", "-m", "highnoon", "launch", "--workers", "2", *options]
    words += ["--", "train", "--data", "texts", "--steps", str(STEPS), "--output", name, *TINY]
    environment = {
        **os.environ,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
        "HIGHNOON_CACHE": str(folder / "cache"),
    }
    return subprocess.Popen(
        words, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def weights(folder):
    return load_arrays(folder / "model" / "model.safetensors")


def worker_pids(launcher):
    """The processes of the workers, each in a session of its own."""
    children = f"/proc/{launcher.pid}/task/{launcher.pid}/children"
    with open(children) as stream:
        return [int(pid) for pid in stream.read().split()]


@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes of the workers in /proc")
def test_a_killed_worker_is_started_again_and_the_weights_are_as_undisturbed(tmp_path, monkeypatch):
    (tmp_path / "texts").mkdir()
    for number in range(20):
        text = f"{number} the sun stood over the river and the river shone. " * (5 + number % 7)
        (tmp_path / "texts" / f"{number}.txt").write_text(text)
    # One process that takes the rows of both workers one after the other gives the weights of both together.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HIGHNOON_CACHE", str(tmp_path / "cache"))
    words = ["train", "--data", "texts", "--steps", str(STEPS), "--output", "undisturbed", *TINY]
    assert main([*words, "training.gradient_accumulation_steps=2"]) == 0

    launcher = launch(tmp_path, "disturbed", "--max-restarts", "2", "--log-dir", "logs")
    lines, victim = [], None
    for line in launcher.stdout:
        lines.append(line)
        step = re.search(r"step (\d+)/12 ", line)
        if victim is None and step and int(step[1]) >= 5:
            victim = worker_pids(launcher)[1]
            os.kill(victim, signal.SIGKILL)
    printed = "".join(lines)
    assert launcher.wait() == 0, printed[-4000:]
    assert victim is not None
    assert printed.count("all workers start again, restart 1 of 2") == 1 and "restart 2 of" not in printed
    assert "resuming from" in printed
    one, other = weights(tmp_path / "undisturbed"), weights(tmp_path / "disturbed")
    assert one.keys() == other.keys()
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name], err_msg=name)
    # The log of a worker has the lines of all its starts.
    log = (tmp_path / "logs" / "worker_0.log").read_text()
    assert "begins at step 0" in log and "resuming from" in log
