"""Scalars for TensorBoard at every log point."""

from __future__ import annotations

import pathlib
import time
from typing import Any

from highnoon.callbacks.event_callback import EventCallback


class TensorBoardLog(EventCallback):
    """Writes the metrics of log points and evaluations as TensorBoard scalars over the optimizer's step.

    `keras.callbacks.TensorBoard` works in a run too; it sees epochs, this one sees steps. The scalars of a
    log point are one record, handed to a thread that writes it: a tenth of what single scalars cost a step.

    Args:
        log_dir: Folder of the event files.
    """

    def __init__(self, log_dir: str | pathlib.Path) -> None:
        super().__init__()
        self.log_dir = str(log_dir)
        self._writer: Any = None

    def on_event(self, event: dict[str, Any]) -> None:
        if event["event"] not in ("log", "evaluation"):
            return
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.scalar.summary_v2 import scalar_pb
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        if self._writer is None:
            self._writer = EventFileWriter(self.log_dir)
        scalars = Summary()
        for name, value in event["metrics"].items():
            scalars.MergeFrom(scalar_pb(name, value))
        self._writer.add_event(Event(wall_time=time.time(), step=event["step"], summary=scalars))
        if event["event"] == "evaluation":
            self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
