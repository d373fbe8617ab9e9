"""Writes metrics as JSON lines, one per log point."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from highnoon.callbacks.event_callback import EventCallback
from highnoon.files.appended_file import AppendedFile
from highnoon.files.expand_home import expand_home
from highnoon.monitoring import read_metrics

__all__ = ["MetricsFile", "read_metrics"]


class MetricsFile(EventCallback):
    """Appends one JSON line to a file at each log point, evaluation, epoch, stage, alert and fault.

    A line is `{"event", "time" (seconds since the epoch), "step", "stage", metric: value, ...}`. The file is
    only appended to. A run writes `train_begin` when it starts, `resume` when it resumes at a later step, and
    `train_end`; these lines have `total_steps`, `num_parameters` and `vocab_size` instead of metrics. Lines
    before a `resume` with later steps than its own belong to lost work: `read_metrics` drops them, and keeps
    the last line of each (event, step), for alerts also (rule). `step_skipped` and `fault_answered` are kept.

    A line is in the file when the call returns, and on disk before a checkpoint is complete. Lines that could
    not be written because the disk was full are in the checkpoint, and are written when the run is resumed.

    Args:
        path: The file to append to; folders are created.
    """

    _KEPT = (
        "log",
        "evaluation",
        "epoch_end",
        "stage_complete",
        "alert",
        "step_skipped",
        "fault_answered",
        "sample",
    )

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self.path = expand_home(path)
        self._file = AppendedFile(self.path, terminator=b"\n")

    def state_dict(self) -> dict[str, Any]:
        return {"waiting": [line.decode("ascii") for line in self._file.waiting]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._file.waiting = [line.encode("ascii") for line in state.get("waiting", ())]

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

    def flush(self) -> None:
        self._file.sync()

    def _append(self, values: dict[str, Any]) -> None:
        self._file.append((json.dumps({"time": round(time.time(), 3), **values}) + "\n").encode())
