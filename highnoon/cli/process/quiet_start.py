"""Loads TensorFlow without the lines that its C++ side prints before a log level applies."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

from highnoon.training.runs.signal_watch import SignalWatch


def load_tensorflow() -> None:
    """Imports TensorFlow; its output to standard error is shown only if the import fails."""
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") != "3":
        return
    with standard_error_set_aside():
        import tensorflow  # noqa: F401
    SignalWatch.raise_if_lost()


@contextlib.contextmanager
def standard_error_set_aside() -> Iterator[None]:
    """Withholds the output of the process to standard error, C++ included; prints it on an error."""
    sys.stderr.flush()
    shown = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except Exception:
            sys.stderr.flush()
            kept.seek(0)
            os.write(shown, kept.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(shown, 2)
            os.close(shown)
