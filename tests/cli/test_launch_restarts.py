"""`highnoon launch --max-restarts`: which ends are tried again, and what a restarted command is told."""

import os
import signal
import subprocess
import sys

import pytest

from highnoon.cli.__main__ import main
from highnoon.cli.launch import ResumedWords
from highnoon.files.step_folders import point_at

# Ends by the word of its start: a signal's number, an exit code, or `wait`.
WORKER = """
import os, sys, time
word = sys.argv[1 + int(os.environ["HIGHNOON_RESTART"])]
print("start", os.environ["HIGHNOON_RESTART"], "port", os.environ["MASTER_PORT"], flush=True)
if os.environ["RANK"] == "1" and word != "exit-0":
    time.sleep(60)
if word == "wait":
    time.sleep(60)
kind, number = word.split("-")
os.kill(os.getpid(), int(number)) if kind == "signal" else sys.exit(int(number))
"""


def launch(tmp_path, restarts, *words):
    program = tmp_path / "worker.py"
    program.write_text(WORKER)
    options = ["--workers", "2", "--max-restarts", str(restarts), "--log-dir", str(tmp_path / "logs")]
    command = [sys.executable, "-m", "highnoon", "launch", *options, "--", str(program), *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.parametrize(
    ("restarts", "words", "code", "starts"),
    [
        (3, ["signal-9", "exit-75", "exit-0"], 0, 3),
        (1, ["signal-9", "signal-9", "exit-0"], 128 + 9, 2),
        (0, ["signal-9", "exit-0"], 128 + 9, 1),
        (3, ["exit-1", "exit-0"], 1, 1),
        (3, ["signal-9", "exit-2", "exit-0"], 2, 2),
    ],
)
def test_a_killed_worker_is_tried_again_within_bounds_and_a_mistake_is_not(
    tmp_path, restarts, words, code, starts
):
    launcher = launch(tmp_path, restarts, *words)
    printed, _ = launcher.communicate(timeout=60)
    assert launcher.returncode == code, printed
    log = (tmp_path / "logs" / "worker_0.log").read_text().splitlines()
    assert [line.split()[1] for line in log] == [str(number) for number in range(starts)]
    assert len({line.split()[3] for line in log}) == starts, "each start has ports of its own"
    assert printed.count(f"of {restarts}\n") == starts - 1
    is_exhausted = restarts and code > 2
    assert (f"all {restarts} restarts are used up" in printed) == bool(is_exhausted)


def test_workers_that_a_signal_ended_are_not_started_again(tmp_path):
    launcher = launch(tmp_path, 3, "wait")
    while "start 0" not in launcher.stdout.readline():
        pass
    launcher.send_signal(signal.SIGTERM)
    printed, _ = launcher.communicate(timeout=60)
    assert launcher.returncode == 128 + signal.SIGTERM and "start again" not in printed


def make_checkpoint(folder, step):
    (folder / f"step_{step:08d}").mkdir(parents=True)
    point_at(folder / f"step_{step:08d}")


def test_training_resumes_only_what_this_launch_has_begun(tmp_path):
    folder = tmp_path / "run/checkpoints"
    typed = ["--", "train", "--data", "x", "--output", str(tmp_path / "run")]
    words = ["python", *typed[1:]]
    new = ResumedWords(words, typed)
    assert new.words(0) == words and new.words(1) == [*words, "--resume"]
    make_checkpoint(folder, 9)
    over_an_older_run = ResumedWords(words, typed)
    assert over_an_older_run.words(1) == words, "the checkpoint is of the older run"
    os.rename(folder / "step_00000009", folder / "older")
    assert over_an_older_run.words(1) == [*words, "--resume"]
    assert ResumedWords([*words, "--resume"], [*typed, "--resume"]).words(1) == [*words, "--resume"]
    assert ResumedWords(["python", "train.py"], ["--", "train.py"]).words(1) == ["python", "train.py"]


def test_a_number_of_restarts_below_zero_is_refused(capsys):
    assert main(["launch", "--workers", "1", "--max-restarts", "-1", "--", "true"]) == 1
    assert "`--max-restarts` must not be negative" in capsys.readouterr().err
