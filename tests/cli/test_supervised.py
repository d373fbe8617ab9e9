"""A command under a memory limit: its abort is one line, signals reach it, it never outlives its parent."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from highnoon.cli.process.supervised import can_supervise

pytestmark = pytest.mark.skipif(not can_supervise(), reason="needs Linux")

PROGRAM = """
import os, signal, sys, time
from highnoon.cli.process.supervised import run_supervised

def run():
    print(os.getpid(), flush=True)
    {body}

sys.exit(run_supervised(run, lambda name: f"ended by {{name}}"))
"""


def start(body: str) -> subprocess.Popen:
    command = [sys.executable, "-c", PROGRAM.format(body=body)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("body", "code", "printed"),
    [
        ("return 7", 7, ""),
        ("os.abort()", 1, "error: ended by SIGABRT\n"),
        ("sys.exit('said')", 1, "said\n"),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)", 128 + signal.SIGTERM, ""),
    ],
)
def test_an_exit_code_is_passed_on_and_an_abort_is_one_line(body, code, printed):
    process = start(body)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (code, printed)


def test_a_signal_to_the_command_reaches_what_runs():
    process = start(
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(5)); print('set', flush=True); time.sleep(60)"
    )
    assert [process.stdout.readline() for _ in range(2)][1] == "set\n"
    process.terminate()
    assert process.wait(60) == 5


def test_what_runs_ends_with_the_command_that_is_killed():
    process = start("time.sleep(60)")
    child = int(process.stdout.readline())
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_running(child)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"
