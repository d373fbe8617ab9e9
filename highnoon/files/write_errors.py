"""Names the path in errors of writing."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterator


@contextlib.contextmanager
def write_errors(path: str | os.PathLike[str], advice: str = "free disk space or choose another folder"
                 ) -> Iterator[None]:
    """Adds the path and what to do to an `OSError` that names no file, as that of a full disk.

    Args:
        path: What is written.
        advice: What the user can do.

    Raises:
        OSError: with the same `errno`.
    """
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        message = f"could not write: {error.strerror}; {advice}"
        raise OSError(error.errno, message, str(pathlib.Path(path))) from error
