"""Metrics as JSON lines, one a log point."""

from __future__ import annotations

import json
import os
import pathlib
import time
from typing import Any, BinaryIO

from highnoon.callbacks.event_callback import EventCallback
from highnoon.monitoring import read_metrics

__all__ = ["MetricsFile", "read_metrics"]


class MetricsFile(EventCallback):
    """Appends one JSON line to a file at each log point, evaluation, epoch, stage, alert and fault.

    A line is `{"event", "time" (seconds since the epoch), "step", "stage", metric: value, ...}`. The file is
    only ever appended to. A run writes `train_begin` when it begins, `resume` when it goes on from a later
    step, and `train_end`; those lines hold `total_steps`, `num_parameters` and `vocab_size` instead of
    metrics. Lines before a `resume` whose steps lie beyond its own are of steps that were lost:
    `read_metrics` drops them, and keeps the last line of each (event, step), of alerts also (rule).
    `step_skipped` and `fault_answered` are kept as they are.

    Args:
        path: File to append to; folders are made.
    """

    _KEPT = (
        "log", "evaluation", "epoch_end", "stage_complete", "alert", "step_skipped", "fault_answered",
        "sample",
    )

    def __init__(self, path: str | pathlib.Path) -> None:
        super().__init__()
        self.path = pathlib.Path(path)

    def on_event(self, event: dict[str, Any]) -> None:
        if event["event"] in self._KEPT:
            self._append(
                {key: value for key, value in event.items() if key != "metrics"} | event.get("metrics", {})
            )
        elif event["event"] == "train_begin":
            vocab_size = getattr(self.model, "vocab_size", None)
            self._append(
                event
                | {"event": "resume" if event["step"] > 0 else "train_begin"}
                | ({} if vocab_size is None else {"vocab_size": vocab_size})
            )
        elif event["event"] == "train_end":
            self._append({"event": "train_end", "step": event["step"]})

    def _append(self, values: dict[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as stream:
            _end_torn_line(stream)
            stream.write((json.dumps({"time": round(time.time(), 3), **values}) + "\n").encode())


def _end_torn_line(stream: BinaryIO) -> None:
    """Ends a line that a killed run left unfinished, so that it spoils no other."""
    if stream.seek(0, os.SEEK_END):
        stream.seek(-1, os.SEEK_END)
        if stream.read(1) != b"\n":
            stream.write(b"\n")
