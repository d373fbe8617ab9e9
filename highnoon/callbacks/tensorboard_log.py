"""Writes scalars for TensorBoard at every log point."""

from __future__ import annotations

import os
import re
import time
from typing import Any

from highnoon.callbacks.event_callback import EventCallback
from highnoon.callbacks.event_files import EventFiles, is_state
from highnoon.files.shown import shown


class TensorBoardLog(EventCallback):
    """Writes the metrics of log points and evaluations as TensorBoard scalars over optimizer steps.

    `keras.callbacks.TensorBoard` works in a run too; it writes per epoch, this callback per step. The scalars
    of a log point are one record. The event files are on disk before a checkpoint is complete. A resumed run,
    or one that goes back to a checkpoint by itself, removes the events after the checkpoint, so the files
    have each step once. A new run in the folder of an earlier one moves its event files to a folder
    `run_<id>`; files of other programs do not change.

    Args:
        log_dir: Folder of the event files, on a local file system.

    Raises:
        ValueError: If `log_dir` is a URL.
    """

    def __init__(self, log_dir: str | os.PathLike[str]) -> None:
        super().__init__()
        self.log_dir = os.fspath(log_dir)
        if re.match(r"\w+://", self.log_dir):
            raise ValueError(
                f"`log_dir` must be a local folder; received {self.log_dir!r}: use a local folder and copy "
                f"it, "
                "or use keras.callbacks.TensorBoard"
            )
        self._files = EventFiles(self.log_dir)
        self._loaded: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        return self._files.state()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state.get("run") and not is_state(state):
            raise ValueError(f"this is not a state of event files: {shown(state)}")
        # A checkpoint of an earlier version has no state of the files.
        self._loaded = state if state.get("run") else None

    def on_event(self, event: dict[str, Any]) -> None:
        if event["event"] == "train_begin":
            self._files.begin(event["step"], self._loaded)
            self._loaded = None
        elif event["event"] == "fault_answered" and event["answer"] == "go_back":
            self._files.drop_beyond(event["step"])
        elif event["event"] in ("log", "evaluation"):
            self._write(event)

    def flush(self) -> None:
        self._files.sync()

    def _write(self, event: dict[str, Any]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.scalar.summary_v2 import scalar_pb

        scalars = Summary()
        for name, value in event["metrics"].items():
            scalars.MergeFrom(scalar_pb(name, value))
        self._files.append(Event(wall_time=time.time(), step=event["step"], summary=scalars))
