"""Scalars for TensorBoard at every log point."""

from __future__ import annotations

import os
import re
import time
from typing import Any

from highnoon.callbacks.event_callback import EventCallback
from highnoon.callbacks.event_files import EventFiles, is_state
from highnoon.files.shown import shown


class TensorBoardLog(EventCallback):
    """Writes the metrics of log points and evaluations as TensorBoard scalars over the optimizer's step.

    `keras.callbacks.TensorBoard` works in a run too; it sees epochs, this one sees steps. The scalars of a
    log point are one record. The event files are on the disk before a checkpoint counts. A resumed run
    removes what the run before it wrote after the checkpoint, and so does one that goes back to a checkpoint
    by itself: the files hold each step once. A new run in the folder of an earlier one moves that one's event
    files into a folder `run_<id>`; files of other programs stay as they are.

    Args:
        log_dir: Folder of the event files, on a local file system.

    Raises:
        ValueError: `log_dir` is a URL.
    """

    def __init__(self, log_dir: str | os.PathLike[str]) -> None:
        super().__init__()
        self.log_dir = os.fspath(log_dir)
        if re.match(r"\w+://", self.log_dir):
            raise ValueError(
                f"`log_dir` must be a local folder; received {self.log_dir!r}: give a local folder and copy "
                "it, or use keras.callbacks.TensorBoard"
            )
        self._files = EventFiles(self.log_dir)
        self._loaded: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        return self._files.state()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state.get("run") and not is_state(state):
            raise ValueError(f"this is no state of event files: {shown(state)}")
        # A checkpoint of an earlier version says nothing of the files.
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
