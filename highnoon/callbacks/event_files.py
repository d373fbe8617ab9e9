"""The TensorBoard event files of a run."""

from __future__ import annotations

import base64
import os
import pathlib
import re
import socket
import struct
import time
import uuid
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from highnoon.callbacks.event_records import as_record, read_records, whole_length
from highnoon.files.appended_file import AppendedFile

_NAME = re.compile(r"events\.out\.tfevents\.(?P<seconds>\d+)\..*\.hn-(?P<run>[0-9a-f]{8})", re.DOTALL)

_RUN = re.compile("[0-9a-f]{8}")
_RECORD_HEAD = 12  # bytes of a record before its event


class EventFiles:
    """Appends events to its own files in a folder, and removes events that a resumed run writes again.

    Each start or resume of a run opens a new file, which a running TensorBoard picks up. The names of the
    files have the id of the run (`events.out.tfevents.*.hn-<id>`), so other files are never touched.

    Args:
        folder: Folder of the event files.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = pathlib.Path(folder)
        self._run: str | None = None
        self._sizes: dict[str, int] = {}  # of the files before the current one
        self._file: AppendedFile | None = None
        self._waiting: list[bytes] = []
        self._purged_from: int | None = None

    def begin(self, step: int, state: Mapping[str, Any] | None) -> None:
        """Starts a run, or resumes one at `step`.

        Args:
            step: Optimizer step of the checkpoint, 0 for a new run.
            state: The result of `state` when the checkpoint was saved: files are truncated to the size they
                had, and newer files of the run are removed. None for a new run: the files of an earlier run
                are moved to a folder `run_<id>`.
        """
        self._file, self._sizes, self._waiting = None, {}, []
        self._purged_from = step + 1 if step > 0 else None
        if state is None:
            self._run = uuid.uuid4().hex[:8]
            if step == 0:
                self._set_aside_other_runs()
            return
        self._run = state["run"]
        self._waiting = [base64.b64decode(record) for record in state["waiting"]]
        self._cut(state["sizes"])

    def append(self, event: Any) -> None:
        """Writes an event.

        Raises:
            OSError: If it cannot be written; it is written with the next event.
        """
        if self._run is None:
            self.begin(0, None)
        if self._file is None:
            self._file = self._open()
        self._file.append(as_record(event))

    def sync(self) -> None:
        """Returns when all events are on disk.

        Raises:
            OSError: If they cannot be written.
        """
        if self._file is None and self._waiting:
            self._file = self._open()
        if self._file is not None:
            self._file.sync()

    def state(self) -> dict[str, Any]:
        """Returns the files with their sizes, and the unwritten events, as JSON values."""
        sizes, waiting = dict(self._sizes), self._waiting
        if self._file is not None:
            waiting = self._file.waiting
            if self._file.size:
                sizes[self._file.path.name] = self._file.size
        return {
            "run": self._run,
            "sizes": sizes,
            "waiting": [base64.b64encode(record).decode("ascii") for record in waiting],
        }

    def drop_beyond(self, step: int) -> None:
        """Removes the events of later steps, which the run will repeat."""
        if self._file is not None:
            self._sizes[self._file.path.name] = self._file.size
            self._waiting = self._file.waiting
            self._file = None
        self._waiting = [record for record in self._waiting if _step_of(record) <= step]
        for name in list(self._sizes):
            path = self.folder / name
            if path.is_file():
                self._sizes[name] = _cut_beyond(path, step)
        self._purged_from = step + 1

    def _open(self) -> AppendedFile:
        """Returns a new file that starts with the header of TensorBoard and the unwritten records."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        now = time.time()
        first = [as_record(Event(wall_time=now, file_version="brain.Event:2"))]
        if self._purged_from is not None:
            # Tells a running TensorBoard to discard the removed events.
            start = SessionLog(status=SessionLog.START)
            first.append(as_record(Event(wall_time=now, step=self._purged_from, session_log=start)))
        # TensorBoard reads files in the order of their names.
        last = max((int(match["seconds"]) for _, match in self._own_files()), default=0)
        seconds = max(int(now), last + 1)
        name = f"events.out.tfevents.{seconds:010d}.{socket.gethostname()}.{os.getpid()}.hn-{self._run}"
        waiting, self._waiting = self._waiting, []
        return AppendedFile(self.folder / name, waiting=[*first, *waiting])

    def _own_files(self) -> Iterator[tuple[pathlib.Path, re.Match[str]]]:
        return ((path, match) for path, match in _event_files(self.folder) if match["run"] == self._run)

    def _cut(self, sizes: Mapping[str, int]) -> None:
        present = {path.name: path for path, _ in self._own_files()}
        for name, path in present.items():
            if name not in sizes:
                path.unlink()
            elif path.stat().st_size > sizes[name]:
                os.truncate(path, sizes[name])
        missing = 0
        for name, size in sizes.items():
            path = self.folder / name
            self._sizes[name] = 0
            if name in present:
                self._sizes[name] = size if path.stat().st_size == size else whole_length(path)
                os.truncate(path, self._sizes[name])
            missing += size - self._sizes[name]
        if missing:
            warnings.warn(
                f"{missing:,} bytes of TensorBoard events that belong to the checkpoint are missing in "
                f"{self.folder}: its curves have a gap",
                stacklevel=2,
            )

    def _set_aside_other_runs(self) -> None:
        for path, match in list(_event_files(self.folder)):
            target = self.folder / f"run_{match['run']}"
            target.mkdir(exist_ok=True)
            os.replace(path, target / path.name)


def is_state(values: Mapping[str, Any]) -> bool:
    """Returns whether values have the form of `EventFiles.state`; the run id becomes part of a name."""
    run, sizes, waiting = (values.get(name) for name in ("run", "sizes", "waiting"))
    if not isinstance(run, str) or not _RUN.fullmatch(run):
        return False
    if not isinstance(sizes, dict) or not all(type(size) is int and size >= 0 for size in sizes.values()):
        return False
    return isinstance(waiting, list) and all(_is_record(text) for text in waiting)


def _is_record(text: Any) -> bool:
    try:
        return isinstance(text, str) and len(base64.b64decode(text, validate=True)) > _RECORD_HEAD
    except ValueError:
        return False


def _event_files(folder: pathlib.Path) -> Iterator[tuple[pathlib.Path, re.Match[str]]]:
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        match = _NAME.fullmatch(path.name)
        if match and path.is_file():
            yield path, match


def _cut_beyond(path: pathlib.Path, step: int) -> int:
    """Truncates a file before its first event of a later step and returns its size."""
    from tensorboard.compat.proto.event_pb2 import Event

    size = 0
    for data, end in read_records(path):
        event = Event.FromString(data)
        if event.HasField("summary") and event.step > step:
            break
        size = end
    os.truncate(path, size)
    return size


def _step_of(record: bytes) -> int:
    from tensorboard.compat.proto.event_pb2 import Event

    (length,) = struct.unpack("<Q", record[:8])
    return Event.FromString(record[_RECORD_HEAD : _RECORD_HEAD + length]).step
