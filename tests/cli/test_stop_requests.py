"""Ctrl-C in every phase of a command: the answer, the end, and an exception that the interpreter drops."""

import os
import signal
import subprocess
import sys
import time

import pytest

from highnoon.cli.process import stop_requests
from highnoon.cli.process.stop_requests import FIRST, SECOND
from highnoon.training.runs.stop_signals import NOTICE

HEAD = """
import ctypes, gc, signal, sys, time
from highnoon.cli.process.stop_requests import StopRequests
from highnoon.training.runs.signal_watch import SignalWatch
from highnoon.training.runs.stop_signals import StopSignals

class Loses:
    def __del__(self):
        print("ready", flush=True)
        time.sleep(5)

def run():
    with StopRequests(ends_process=True):
        BODY

try:
    run()
except KeyboardInterrupt as stop:
    print("interrupted", stop, flush=True)
    sys.exit(130)
print("ended", flush=True)
"""


def start(body):
    indented = body.replace("\n", "\n        ")
    return subprocess.Popen(
        [sys.executable, "-c", HEAD.replace("BODY", indented)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def interrupted(body, signals=1, number=signal.SIGINT):
    """Sends signals as soon as the program is ready; returns its code, output and seconds of its life."""
    process = start(body)
    assert process.stdout.readline() == "ready\n", process.stderr.read()
    began = time.monotonic()
    seen = []
    for _ in range(signals):
        process.send_signal(number)
        # The answer to the first comes before the second is sent.
        seen.append(process.stderr.readline())
    output, rest = process.communicate(timeout=30)
    return process.returncode, output, "".join(seen) + rest, time.monotonic() - began


def test_the_first_ctrl_c_raises_once_and_is_answered():
    code, output, error, _ = interrupted("print('ready', flush=True)\ntime.sleep(20)")
    assert (code, output, error) == (130, "interrupted \n", FIRST + "\n")


def test_an_exception_that_a_finalizer_drops_is_raised_again():
    code, output, error, seconds = interrupted("x = Loses()\ndel x\nfor _ in range(400): time.sleep(0.05)")
    assert (code, output) == (130, "interrupted \n")
    assert "ignored" not in error and seconds < 10


def test_an_exception_that_the_garbage_collector_drops_is_raised_again():
    body = (
        "def slow(phase, info):\n"
        "    if phase == 'start': print('ready', flush=True); time.sleep(5)\n"
        "gc.callbacks.append(slow)\ngc.collect()\ngc.callbacks.clear()\n"
        "for _ in range(400): time.sleep(0.05)"
    )
    code, output, error, _ = interrupted(body)
    assert (code, output) == (130, "interrupted \n") and "ignored" not in error


def test_an_exception_that_a_library_swallows_stops_at_the_next_safe_point():
    swallowed = "try:\n    print('ready', flush=True); time.sleep(20)\nexcept BaseException: pass\n"
    for safe_point in ("SignalWatch.raise_if_lost()", "with StopSignals(): pass"):
        code, output, _, _ = interrupted(f"{swallowed}{safe_point}\nprint('continued')")
        assert (code, output) == (130, "interrupted \n"), safe_point


def test_a_long_native_call_is_answered_at_once_and_ended_by_the_second_ctrl_c():
    # Half a minute without a bytecode, so without a chance for a handler.
    body = (
        "import hashlib, threading\nthreading.Timer(0.3, lambda: print('ready', flush=True)).start()\n"
        "hashlib.pbkdf2_hmac('sha256', b'', b'', 10**8)"
    )
    code, output, error, seconds = interrupted(body, signals=2)
    assert (code, output, error) == (130, "", f"{FIRST}\n{SECOND}\n")
    assert seconds < stop_requests.GRACE_SECONDS + 2


def test_a_run_answers_the_first_at_once_and_the_second_leaves_without_saving():
    body = (
        "with StopSignals() as signals:\n    print('ready', flush=True)\n"
        "    while not signals.requested: time.sleep(0.01)\n"
        "    time.sleep(SECONDS)\n    print('saved', flush=True)\n    raise KeyboardInterrupt('saved')"
    )
    code, output, error, _ = interrupted(body.replace("SECONDS", "0.1"))
    assert (code, output, error) == (130, "saved\ninterrupted saved\n", NOTICE + "\n")
    code, output, error, seconds = interrupted(body.replace("SECONDS", "20"), signals=2)
    # Two signals before one handler are one for Python; the process then ends by force.
    assert (code, error) == (130, f"{NOTICE}\n{SECOND}\n") and seconds < 10
    assert output in ("interrupted \n", "") and "saved" not in output


def test_sigterm_asks_a_run_to_stop_too():
    body = (
        "with StopSignals() as signals:\n    print('ready', flush=True)\n"
        "    while not signals.requested: time.sleep(0.01)\n    print(signals.requested, flush=True)"
    )
    code, output, error, _ = interrupted(body, number=signal.SIGTERM)
    assert (code, output, error) == (0, f"{int(signal.SIGTERM)}\nended\n", NOTICE + "\n")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
def test_the_signal_of_a_forked_process_is_not_taken_for_one_of_its_parent():
    body = (
        "import os\nwatch = SignalWatch.innermost\nchild = os.fork()\n"
        "if child == 0:\n    signal.signal(signal.SIGINT, lambda *a: os._exit(7))\n    time.sleep(20)\n"
        "time.sleep(0.3)\nos.kill(child, signal.SIGINT)\n_, status = os.waitpid(child, 0)\n"
        "time.sleep(0.2)\nassert os.WEXITSTATUS(status) == 7\nprint('heard', watch.num_heard, flush=True)"
    )
    process = start(body)
    output, error = process.communicate(timeout=30)
    assert (process.returncode, output) == (0, "heard 0\nended\n"), error


def test_the_handlers_are_put_back():
    before = signal.getsignal(signal.SIGINT), sys.unraisablehook
    with stop_requests.StopRequests(ends_process=False):
        assert signal.getsignal(signal.SIGINT) is not before[0]
    assert (signal.getsignal(signal.SIGINT), sys.unraisablehook) == before
