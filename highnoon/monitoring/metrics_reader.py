"""Reads a metrics file, at once or while it is written."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Container
from typing import Any

from highnoon.monitoring.metric_names import MEASURED, canonical_record, goes_back

BEGINNINGS = ("train_begin", "resume")
_FIGURES = (*MEASURED, "epoch_end", "stage_complete")


class MetricsReader:
    """Follows a metrics file: each `poll` reads what was appended since the last.

    A line with the event `train_begin` or `resume` says that the run went on from its `step`: earlier lines
    beyond that step are of steps that were lost, and are dropped; of a run that went back to a checkpoint by
    itself (`fault_answered`) only figures are, and what was told of them stays. Of two lines of one event and
    step (and rule, of alerts) the last counts. Lines that a kill tore are passed over.

    Args:
        path: A file of JSON lines, as `highnoon.callbacks.MetricsFile` writes them.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = pathlib.Path(path)
        self.generation = 0
        self._start_over()

    def _start_over(self) -> None:
        self.beginning: dict[str, Any] = {}
        self.is_ended = False
        self._lines: dict[tuple[Any, ...], dict[str, Any]] = {}
        self._offset = 0
        self._file_id: tuple[int, int] | None = None

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The lines that count, by step, without those of beginnings and ends."""
        return sorted(self._lines.values(), key=lambda line: line["step"])

    def poll(self) -> list[dict[str, Any]]:
        """Returns the lines that have come since the last call.

        `generation` grows when lines that an earlier call gave do not count any more; `lines` has the rest.

        Raises:
            OSError: the file cannot be read.
        """
        with self.path.open("rb") as stream:
            state = os.fstat(stream.fileno())
            file_id = (state.st_dev, state.st_ino)
            if self._file_id not in (None, file_id) or state.st_size < self._offset:
                self._start_over()
                self.generation += 1
            self._file_id = file_id
            stream.seek(self._offset)
            *whole, rest = stream.read().split(b"\n")
        self._offset += sum(len(line) + 1 for line in whole)
        if _parse(rest) is not None:
            whole.append(rest)
            self._offset += len(rest)
        parsed = (_parse(line) for line in whole)
        return [line for line in parsed if line is not None and self._take(line)]

    def _take(self, line: dict[str, Any]) -> bool:
        """Takes one line in; returns whether it is one of figures or alerts."""
        event = line["event"]
        self.is_ended = event == "train_end"
        if event in BEGINNINGS:
            self.beginning = line
            self._drop_beyond(line["step"])
            return False
        if goes_back(line):
            self._drop_beyond(line["step"], _FIGURES)
        if event == "train_end":
            return False
        key = (event, line["step"], line.get("rule"), line.get("reason"))
        self.generation += key in self._lines
        self._lines[key] = line
        return True


    def _drop_beyond(self, step: int, events: Container[str] | None = None) -> None:
        lost = [
            key for key, line in self._lines.items()
            if line["step"] > step and (events is None or line["event"] in events)
        ]
        for key in lost:
            del self._lines[key]
        self.generation += bool(lost)


def read_metrics(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Returns the lines of a metrics file that count, by step; see `MetricsReader`."""
    reader = MetricsReader(path)
    reader.poll()
    return reader.lines


def _parse(line: bytes) -> dict[str, Any] | None:
    """Returns a line's values under this package's names; None for a torn one or one without a step."""
    try:
        values = json.loads(line)
    except ValueError:
        return None
    if not isinstance(values, dict) or isinstance(values.get("step"), bool):
        return None
    return canonical_record(values) if isinstance(values.get("step"), int) else None
