"""Finds the metrics files of runs."""

from __future__ import annotations

import os
import pathlib
import stat

METRICS_FILE = "metrics.jsonl"
_PATTERNS = (METRICS_FILE, f"*/{METRICS_FILE}", f"*/*/{METRICS_FILE}")


def find_runs(folder: str | os.PathLike[str]) -> list[pathlib.Path]:
    """Returns the metrics files of a run's folder, or of a folder of runs, the most recent first.

    A path to a file is returned as it is; folders are searched two levels deep.
    """
    folder = pathlib.Path(folder)
    if folder.is_file():
        return [folder]
    found = ((_last_written(path), path) for pattern in _PATTERNS for path in folder.glob(pattern))
    written = [(when, path) for when, path in found if when is not None]
    return [path for _, path in sorted(written, key=lambda run: run[0], reverse=True)]


def _last_written(path: pathlib.Path) -> float | None:
    """Returns the modification time of a file; None for a folder, a pipe, or a removed file."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_mtime if stat.S_ISREG(state.st_mode) else None


def require_run(folder: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the most recent metrics file.

    Raises:
        FileNotFoundError: If there is none.
    """
    runs = find_runs(folder)
    if not runs:
        reason = f"no {METRICS_FILE} in it" if pathlib.Path(folder).is_dir() else "no such folder"
        raise FileNotFoundError(
            f"no run in {folder}: {reason}; pass the log_dir of the training run as --log-dir"
        )
    return runs[0]
