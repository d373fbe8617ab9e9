"""Reads a metrics file, complete or while it is being written."""

from __future__ import annotations

import heapq
import itertools
import os
from collections.abc import Iterator
from typing import Any, BinaryIO

from highnoon.files.expand_home import expand_home
from highnoon.files.foreign import ForeignDataError
from highnoon.monitoring.metrics.metric_names import MEASURED, goes_back
from highnoon.monitoring.metrics.metrics_line import parse_line

BEGINNINGS = ("train_begin", "resume")
MAX_LINE_BYTES = 2**20
MAX_METRICS = 1000
_FIGURES = (*MEASURED, "epoch_end", "stage_complete")
_CHUNK_BYTES = 2**22
_Key = tuple[Any, ...]


class MetricsReader:
    """Follows a metrics file: each `poll` reads what was appended since the last call.

    A line with the event `train_begin` or `resume` says that the run continued from its `step`: earlier lines
    of later steps belong to lost work and are dropped. If the run went back to a checkpoint by itself
    (`fault_answered`), only metrics are dropped, and alerts are kept. The last line of an event and step (and
    rule, for alerts) replaces earlier ones.

    Lines that are incomplete, longer than 1 MiB, or have fields of the wrong type are skipped: `num_skipped`
    counts them, and `first_reason` is the reason for the first.

    Args:
        path: A file of JSON lines, as `highnoon.callbacks.MetricsFile` writes them.
        max_bytes: Maximum size of the lines in memory. If there are more, every second line is dropped and
            counted in `num_left_out`; None keeps all.
    """

    def __init__(self, path: str | os.PathLike[str], max_bytes: int | None = None) -> None:
        self.path, self.max_bytes = expand_home(path), max_bytes
        self.generation = 0
        self._start_over()

    def _start_over(self) -> None:
        self.beginning: dict[str, Any] = {}
        self.is_ended = False
        self.num_skipped = self.num_left_out = 0
        self.first_reason: str | None = None
        self._lines: dict[_Key, tuple[dict[str, Any], int]] = {}
        # Keys by step, the latest first; keys of metrics separately.
        self._latest: dict[bool, list[tuple[int, int, _Key]]] = {True: [], False: []}
        self._order = itertools.count()
        self._num_bytes = 0
        self._metrics: set[str] = set()
        self._offset = self._line_number = 0
        self._is_in_long_line = False
        self._file_id: tuple[int, int] | None = None

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The valid lines in the order of steps, without the lines that start or end a run."""
        return sorted((line for line, _ in self._lines.values()), key=lambda line: line["step"])

    def poll(self) -> list[dict[str, Any]]:
        """Returns the lines appended since the last call.

        `generation` increases when lines that an earlier call returned are no longer valid; `lines` has the
        remaining ones.

        Raises:
            OSError: If the file cannot be read.
        """
        return [line for part in self.poll_parts() for line in part]

    def poll_parts(self) -> Iterator[list[dict[str, Any]]]:
        """Yields the lines of `poll` in parts, so that a long file is never in memory completely.

        Raises:
            OSError: If the file cannot be read.
        """
        with self.path.open("rb") as stream:
            state = os.fstat(stream.fileno())
            file_id = (state.st_dev, state.st_ino)
            if self._file_id not in (None, file_id) or state.st_size < self._offset:
                self._start_over()
                self.generation += 1
            self._file_id = file_id
            stream.seek(self._offset)
            yield from self._read(stream, state.st_size)

    def _read(self, stream: BinaryIO, size: int) -> Iterator[list[dict[str, Any]]]:
        rest = b""
        while chunk := stream.read(min(_CHUNK_BYTES, size - stream.tell())):
            *complete, rest = (rest + chunk).split(b"\n")
            yield self._take_lines(complete)
            if len(rest) > MAX_LINE_BYTES:
                self._skip_long_line(len(rest))
                rest = b""
        line = None if self._is_in_long_line else self._parse(rest, counts=False)
        if line is not None:
            self._offset += len(rest)
            yield [line] if self._take(line, len(rest)) else []

    def _take_lines(self, texts: list[bytes]) -> list[dict[str, Any]]:
        taken = []
        for text in texts:
            self._offset += len(text) + 1
            self._line_number += 1
            if self._is_in_long_line:  # the end of a line that has been counted
                self._is_in_long_line = False
                continue
            line = self._parse(text)
            if line is not None and self._take(line, len(text)):
                taken.append(line)
        return taken

    def _skip_long_line(self, num_bytes: int) -> None:
        self._offset += num_bytes
        if not self._is_in_long_line:
            self._skip(f"line {self._line_number + 1} has more than {MAX_LINE_BYTES:,} bytes")
        self._is_in_long_line = True

    def _parse(self, text: bytes, *, counts: bool = True) -> dict[str, Any] | None:
        """Returns the values of a line; None for a blank line, and for a bad line, which is counted."""
        if not text.strip():
            return None
        owner = f"line {self._line_number if counts else self._line_number + 1}"
        try:
            if len(text) > MAX_LINE_BYTES:
                raise ForeignDataError(f"{owner} has more than {MAX_LINE_BYTES:,} bytes")
            line = parse_line(text, owner)
            self._note_metrics(line, owner)
        except ForeignDataError as error:
            if counts:  # otherwise it may be incomplete
                self._skip(str(error))
            return None
        return line

    def _note_metrics(self, line: dict[str, Any], owner: str) -> None:
        new = {name for name in line if "/" in name} - self._metrics
        if len(self._metrics) + len(new) > MAX_METRICS:
            raise ForeignDataError(f"{owner}: expected at most {MAX_METRICS:,} names of metrics in a file")
        self._metrics |= new

    def _skip(self, reason: str) -> None:
        self.num_skipped += 1
        self.first_reason = self.first_reason or reason

    def _take(self, line: dict[str, Any], num_bytes: int) -> bool:
        """Processes one line; returns whether it is a line of metrics or alerts."""
        event = line["event"]
        self.is_ended = event == "train_end"
        if event in BEGINNINGS:
            self.beginning = line
            self._drop_beyond(line["step"], True, False)
            return False
        if goes_back(line):
            self._drop_beyond(line["step"], True)
        if event == "train_end":
            return False
        key = (event, line["step"], line.get("rule"), line.get("reason"))
        if key in self._lines:
            self.generation += 1
            self._num_bytes -= self._lines[key][1]
        else:
            heapq.heappush(self._latest[event in _FIGURES], (-line["step"], next(self._order), key))
        self._lines[key] = line, num_bytes
        self._num_bytes += num_bytes
        if self.max_bytes is not None and self._num_bytes > self.max_bytes:
            self._thin_out()
        return True

    def _drop_beyond(self, step: int, *groups: bool) -> None:
        """Drops the lines of later steps, of metrics (True) or of everything else (False)."""
        for latest in (self._latest[group] for group in groups):
            while latest and -latest[0][0] > step:
                dropped = self._lines.pop(heapq.heappop(latest)[2], None)
                if dropped is not None:
                    self._num_bytes -= dropped[1]
                    self.generation += 1

    def _thin_out(self) -> None:
        """Drops every second line of metrics, or of all lines if metrics are not the majority."""
        figures = [key for key in self._lines if key[0] in _FIGURES]
        num_bytes = sum(self._lines[key][1] for key in figures)
        keys = figures if 2 * num_bytes > self._num_bytes and len(figures) > 1 else list(self._lines)
        for key in sorted(keys, key=lambda key: key[1])[::2]:
            self._num_bytes -= self._lines.pop(key)[1]
            self.num_left_out += 1
        self.generation += 1
        for group, latest in self._latest.items():
            self._latest[group] = [entry for entry in latest if entry[2] in self._lines]
            heapq.heapify(self._latest[group])


def read_metrics(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Returns the valid lines of a metrics file in the order of steps; see `MetricsReader`."""
    reader = MetricsReader(path)
    reader.poll()
    return reader.lines
