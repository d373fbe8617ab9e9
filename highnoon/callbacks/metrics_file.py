"""Metrics as JSON lines, one a log point."""

from __future__ import annotations

import json
import pathlib
import time
from typing import Any

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
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"time": round(time.time(), 3), **line}) + "\n")


def read_metrics(path: str | pathlib.Path) -> list[dict[str, Any]]:
    """Returns the lines of a metrics file, each (event, step) once; a torn last line is left out."""
    lines: dict[tuple[str, int], dict[str, Any]] = {}
    text = pathlib.Path(path).read_text(encoding="utf-8")
    for line in text[: text.rfind("\n") + 1].splitlines():
        values = json.loads(line)
        lines[values["event"], values["step"]] = values
    return sorted(lines.values(), key=lambda values: values["step"])
