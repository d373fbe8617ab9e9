"""Finds the metrics files of runs."""

from __future__ import annotations

import os
import pathlib
import stat
from collections.abc import Iterable, Sequence

from highnoon.files.expand_home import expand_home
from highnoon.files.foreign import ForeignDataError, parse_json
from highnoon.files.shown import shown

METRICS_FILE = "metrics.jsonl"
_PATTERNS = (METRICS_FILE, f"*/{METRICS_FILE}", f"*/*/{METRICS_FILE}")
_PATTERNS_OF_WORK = (
    *(f"logs/{pattern}" for pattern in _PATTERNS),
    f"*/logs/*/{METRICS_FILE}",
    f"runs/*/logs/*/{METRICS_FILE}",
)
_SHOWN = 5
_MAX_READ = 2**16  # bytes; the name of a run is in its first line


def find_runs(folder: str | os.PathLike[str]) -> list[pathlib.Path]:
    """Returns the metrics files of a run's folder, or of a folder of runs, the most recent first.

    A path to a file is returned as it is; folders are searched two levels deep.
    """
    folder = expand_home(folder)
    if folder.is_file():
        return [folder]
    return _newest_first(path for pattern in _PATTERNS for path in folder.glob(pattern))


def find_runs_nearby(folder: str | os.PathLike[str] = ".") -> list[pathlib.Path]:
    """Returns the metrics files where runs put them by default, the most recent first.

    These are `logs` in a folder of work, searched two levels deep, and the `logs` of each run's own folder in
    it or in `runs`, such as `runs/first/logs`.
    """
    folder = expand_home(folder)
    return _newest_first(path for pattern in _PATTERNS_OF_WORK for path in folder.glob(pattern))


def with_name(runs: Iterable[pathlib.Path], name: str) -> list[pathlib.Path]:
    """Returns the metrics files of the runs with this `run_name`, id, or name of their folder."""
    return [path for path in runs if name in (path.parent.name, *_names_of(path))]


def require_run_named(name: str, runs: Sequence[pathlib.Path]) -> list[pathlib.Path]:
    """Returns the runs with a name, see `with_name`.

    Raises:
        FileNotFoundError: If there is none.
    """
    found = with_name(runs, name)
    if not found:
        known = [path.parent.name for path in runs[:_SHOWN]]
        others = f"; the latest runs here are {', '.join(map(shown, known))}" if known else "; none is here"
        raise FileNotFoundError(
            f"{shown(name)} is neither a folder nor the name of a run{others}. Pass the folder of the run, "
            "or of its logs, as in: highnoon monitor my-run"
        )
    return found


def _newest_first(paths: Iterable[pathlib.Path]) -> list[pathlib.Path]:
    written = [(when, path) for path in paths if (when := _last_written(path)) is not None]
    return [path for _, path in sorted(written, key=lambda run: run[0], reverse=True)]


def _names_of(path: pathlib.Path) -> list[str]:
    """Returns the name and the id of a run, from the first line of its file."""
    try:
        with path.open("rb") as stream:
            first = parse_json(stream.readline(_MAX_READ), str(path))
    except (OSError, ForeignDataError):
        return []
    values = (first.get(key) for key in ("run_name", "run_id"))
    return [value for value in values if isinstance(value, str)]


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
            f"no run in {folder}: {reason}; give the folder of a run, as in: highnoon monitor my-run"
        )
    return runs[0]
