"""Metrics as JSON lines, one a log point."""

from __future__ import annotations

import json
import os
import pathlib
import time
from typing import Any, BinaryIO

from highnoon.callbacks.event_callback import EventCallback


class MetricsFile(EventCallback):
    """Appends one JSON line to a file at each log point, evaluation, epoch and stage.

    A line is `{"event", "time" (seconds since the epoch), "step", "stage", metric: value, ...}`. The file is
    only ever appended to. When a resumed run is behind the file's last line, the lines after its step were
    computed again: a reader keeps the last line of each (event, step).

    Args:
        path: File to append to; folders are made.
    """

    _KEPT = ("log", "evaluation", "epoch_end", "stage_complete")

    def __init__(self, path: str | pathlib.Path) -> None:
        super().__init__()
        self.path = pathlib.Path(path)

    def on_event(self, event: dict[str, Any]) -> None:
        if event["event"] not in self._KEPT:
            return
        line = {key: value for key, value in event.items() if key != "metrics"} | event.get("metrics", {})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as stream:
            _end_torn_line(stream)
            stream.write((json.dumps({"time": round(time.time(), 3), **line}) + "\n").encode())


def _end_torn_line(stream: BinaryIO) -> None:
    """Ends a line that a killed run left unfinished, so that it spoils no other."""
    if stream.seek(0, os.SEEK_END):
        stream.seek(-1, os.SEEK_END)
        if stream.read(1) != b"\n":
            stream.write(b"\n")


def read_metrics(path: str | pathlib.Path) -> list[dict[str, Any]]:
    """Returns the lines of a metrics file, each (event, step) once; lines torn by a kill are left out."""
    lines: dict[tuple[str, int], dict[str, Any]] = {}
    text = pathlib.Path(path).read_text(encoding="utf-8")
    for line in text.splitlines():
        if line.endswith("}") and line.startswith("{"):
            values = json.loads(line)
            lines[values["event"], values["step"]] = values
    return sorted(lines.values(), key=lambda values: values["step"])
