"""How far a call raises the resident memory of this process (Linux)."""

from __future__ import annotations

import ctypes
import pathlib
import re
from collections.abc import Callable


def peak(call: Callable[[], object]) -> int:
    """Returns the bytes of the process's peak during `call`, with what it holds before."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    call()
    return _status("VmHWM")


def peak_rise(call: Callable[[], object]) -> int:
    """Returns the bytes by which the process's peak during `call` exceeds what it holds before.

    `getrusage` will not do: a process begins with the peak of the one that started it.
    """
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = _status("VmRSS")
    call()
    return _status("VmHWM") - before


def _status(key: str) -> int:
    match = re.search(rf"{key}:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text())
    assert match is not None
    return int(match[1]) * 1024
