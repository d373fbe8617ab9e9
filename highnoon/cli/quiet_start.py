"""Loading TensorFlow without the lines that its C++ side prints before any log level holds."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


def load_tensorflow() -> None:
    """Imports TensorFlow; what it writes to standard error is shown only where the import fails."""
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") != "3":
        return
    with standard_error_set_aside():
        import tensorflow  # noqa: F401


@contextlib.contextmanager
def standard_error_set_aside() -> Iterator[None]:
    """Keeps back what the process writes to standard error, C++ included; shows it if an exception leaves."""
    sys.stderr.flush()
    shown = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            sys.stderr.flush()
            kept.seek(0)
            os.write(shown, kept.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(shown, 2)
            os.close(shown)
