"""Finds the run to look at."""

from __future__ import annotations

import os
import pathlib
import stat

METRICS_FILE = "metrics.jsonl"
_PLACES = (METRICS_FILE, f"*/{METRICS_FILE}", f"*/*/{METRICS_FILE}")


def find_runs(folder: str | os.PathLike[str]) -> list[pathlib.Path]:
    """Returns the metrics files of a run's folder, or of a folder of runs, the last written first.

    A path to a file is taken as it is; folders are looked into two deep.
    """
    folder = pathlib.Path(folder)
    if folder.is_file():
        return [folder]
    found = ((_last_written(path), path) for place in _PLACES for path in folder.glob(place))
    written = [(when, path) for when, path in found if when is not None]
    return [path for _, path in sorted(written, key=lambda run: run[0], reverse=True)]


def _last_written(path: pathlib.Path) -> float | None:
    """Returns when a file was last written; None for a folder, a pipe, or what has gone meanwhile."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_mtime if stat.S_ISREG(state.st_mode) else None


def require_run(folder: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the metrics file last written.

    Raises:
        FileNotFoundError: there is none.
    """
    runs = find_runs(folder)
    if not runs:
        reason = f"no {METRICS_FILE} in it" if pathlib.Path(folder).is_dir() else "no such folder"
        raise FileNotFoundError(
            f"no run in {folder}: {reason}; give --log-dir the folder that the training was given as log_dir"
        )
    return runs[0]
