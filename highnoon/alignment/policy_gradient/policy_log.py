"""Writes the metrics of a policy's iterations, and watches them."""

from __future__ import annotations

import dataclasses
import json
import logging
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from highnoon.files.appended_file import AppendedFile
from highnoon.monitoring.alert_engine import AlertEngine
from highnoon.monitoring.metrics.find_run import METRICS_FILE
from highnoon.monitoring.rules.non_finite_rule import NonFiniteRule
from highnoon.monitoring.rules.policy_rules import policy_rules
from highnoon.monitoring.rules.skipped_steps_rule import SkippedStepsRule

_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "critical": logging.ERROR}


class PolicyLog:
    """Appends a line to `metrics.jsonl` for each iteration and each alert, as runs of the Trainer do.

    `highnoon monitor` reads the file. Rules on losses are left out: the loss of a policy gradient need not
    fall.

    Args:
        folder: Where the file is; None writes none.
        first_step: Steps that were taken before; above 0 for a resumed run.
        callback: Called with the metrics of each iteration.

    Attributes:
        is_stopped: Whether an alert asked to end the run.
    """

    def __init__(
        self,
        folder: pathlib.Path | None,
        first_step: int,
        callback: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self._file = None if folder is None else AppendedFile(folder / METRICS_FILE, b"\n")
        self._callback = callback
        self._engine = AlertEngine([NonFiniteRule(), SkippedStepsRule(), *policy_rules()])
        self._logger = logging.getLogger("highnoon.alerts")
        self.is_stopped = False
        self._append({"event": "resume" if first_step else "train_begin", "step": first_step})

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Writes the metrics of an iteration, and what the alert rules say of them."""
        record = {"event": "log", "step": step, **metrics}
        self._append(record)
        for alert in self._engine.observe(record):
            text = f"step {alert.step}, {alert.rule}: {alert.message}; {alert.advice}"
            self._logger.log(_LEVELS[alert.severity], text)
            self._append({"event": "alert", **dataclasses.asdict(alert)})
            self.is_stopped = self.is_stopped or alert.action == "stop"
        if self._callback is not None:
            self._callback({"step": step, **metrics})

    def _append(self, record: Mapping[str, Any]) -> None:
        if self._file is not None:
            line = json.dumps({**record, "time": time.time()})
            self._file.append(line.encode() + b"\n")
