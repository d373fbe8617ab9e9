"""Runs a command in a process of its own, so that even an abort of native code ends in one line."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SI_USER = 0
_PR_SET_PDEATHSIG = 1
_ABORTS = (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGTRAP, signal.SIGKILL)


def can_supervise() -> bool:
    """Whether this system has what `run_supervised` needs."""
    return sys.platform == "linux"


def run_supervised(run: Callable[[], int], explain: Callable[[str], str]) -> int:
    """Runs a function in a forked process and returns its exit code.

    Signals reach the process, which ends with this one.

    Args:
        run: Returns an exit code.
        explain: Given the name of the signal that ended the process, returns the line to print.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # From before the fork on, so that no signal is lost between.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (*_FORWARDED, signal.SIGCHLD))
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the line above
            os._exit(1)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return run()
    status = _wait(child)
    if os.WIFEXITED(status):
        return os.WEXITSTATUS(status)
    number = os.WTERMSIG(status)
    if number not in _ABORTS:
        return 128 + number
    print("error:", explain(signal.Signals(number).name), file=sys.stderr)
    return 1


def _wait(child: int) -> int:
    """Passes signals on until the child has ended; returns its status."""
    while True:
        received = signal.sigwaitinfo((*_FORWARDED, signal.SIGCHLD))
        if received.si_signo == signal.SIGCHLD:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return status
        elif received.si_code == _SI_USER:  # a terminal's Ctrl-C reaches the child by itself
            os.kill(child, received.si_signo)
