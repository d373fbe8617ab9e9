"""The data of a run's page, updated from its metrics file."""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from highnoon.monitoring.alert import Alert
from highnoon.monitoring.alert_engine import AlertEngine
from highnoon.monitoring.metrics.metric_names import MEASURED
from highnoon.monitoring.metrics.metrics_reader import MetricsReader
from highnoon.monitoring.metrics.number import as_number
from highnoon.monitoring.rules.default_rules import default_rules

MAX_BYTES = 2**25
"""Maximum size of the lines that a view keeps; they use a few times as much memory."""

_RATE_POINTS = 20
_EMPTY_ALERT = {
    "rule": "unknown",
    "severity": "info",
    "value": math.nan,
    "message": "",
    "advice": "",
    "action": "log",
}
_FIELDS = tuple(field.name for field in dataclasses.fields(Alert))


class RunView:
    """A run as recorded in its metrics file, with the alerts that rules find in it.

    Args:
        path: The metrics file.
        rules: Rules in addition to the default ones, for `parse_rule`.
    """

    def __init__(self, path: str | os.PathLike[str], rules: Sequence[str | Mapping[str, Any]] = ()) -> None:
        self.path = pathlib.Path(path)
        self._rules = rules
        self._reader = MetricsReader(path, MAX_BYTES)
        self._begin()

    def _begin(self) -> None:
        self._generation = self._reader.generation
        self.series: dict[str, list[tuple[int, float]]] = {}
        self.alerts: list[Alert] = []
        self._last_alerts: dict[str, int] = {}
        self._known_alerts: set[tuple[str, int]] = set()
        self.last_steps: dict[str, int] = {}  # by event: of the last log point and evaluation
        self.stage: str | None = None
        self.step: int = self._reader.beginning.get("step", 0)
        self._times: list[tuple[float, int]] = []
        self._engine = AlertEngine([*default_rules(), *self._rules])
        self._rule_names = {rule.name for rule in self._engine.rules}
        self._engine.observe({"event": "resume", "step": 0, **self._reader.beginning})

    def update(self) -> bool:
        """Reads new lines; returns whether there were any.

        Raises:
            OSError: If the file cannot be read.
        """
        beginning, was_ended = self._reader.beginning, self._reader.is_ended
        has_new = begins = False
        for part in self._reader.poll_parts():
            has_new = has_new or bool(part)
            begins = self._reader.beginning is not beginning
            # If earlier lines are no longer valid, all valid lines are processed once, below.
            if not begins and self._reader.generation == self._generation:
                for line in part:
                    self._take(line)
        if begins or self._reader.generation != self._generation:
            self._begin()
            for line in self._reader.lines:
                self._take(line)
        return has_new or begins or self.is_ended != was_ended

    @property
    def notes(self) -> list[str]:
        """Notes about the file: lines that were skipped, or dropped to limit memory."""
        reader, notes = self._reader, []
        if reader.num_skipped:
            notes.append(
                f"{reader.num_skipped:,} lines of the file skipped; the first: {reader.first_reason}"
            )
        if reader.num_left_out:
            notes.append(f"{reader.num_left_out:,} lines of the long file dropped to limit memory")
        return notes

    @property
    def is_ended(self) -> bool:
        return self._reader.is_ended

    @property
    def total_steps(self) -> int | None:
        return self._reader.beginning.get("total_steps")

    def is_over(self, alert: Alert) -> bool:
        """Returns whether an alert has cleared; alerts of rules that only the run knows never do."""
        if alert.rule not in self._rule_names:
            return False
        return alert.rule not in self._engine.firing or alert.step < self._last_alerts[alert.rule]

    @property
    def last_time(self) -> float | None:
        """Time of the last line of metrics, in seconds since the epoch."""
        return self._times[-1][0] if self._times else None

    def seconds_left(self) -> float | None:
        """Returns the time for the remaining steps at the speed of the last log points, if known."""
        began = self._reader.beginning.get("time", 0.0)
        recent = [(when, step) for when, step in self._times if when >= began]
        if self.total_steps is None or self.is_ended or len(recent) < 2:
            return None
        seconds, steps = recent[-1][0] - recent[0][0], recent[-1][1] - recent[0][1]
        if steps <= 0 or seconds <= 0:
            return None
        return seconds / steps * max(self.total_steps - self.step, 0)

    def lines(self) -> list[dict[str, Any]]:
        """Returns the valid lines in the order of steps."""
        return self._reader.lines

    def _take(self, line: dict[str, Any]) -> None:
        self.stage = line.get("stage", self.stage)
        if line["event"] == "alert":
            self._add({**_EMPTY_ALERT, **{name: line[name] for name in _FIELDS if name in line}})
        if line["event"] == "fault_answered":
            self._add(_as_alert(line))
        for alert in self._engine.observe(line):
            self._add(dataclasses.asdict(alert))
        if line["event"] not in MEASURED:
            return
        self.step = max(self.step, line["step"])
        self.last_steps[line["event"]] = line["step"]
        if "time" in line:
            self._times = [*self._times[-_RATE_POINTS:], (line["time"], line["step"])]
        for name, value in line.items():
            number = as_number(value) if "/" in name else None
            if number is not None:
                self.series.setdefault(name, []).append((line["step"], number))

    def _add(self, fields: dict[str, Any]) -> None:
        """Adds an alert once, even if the run recorded it and the rules found it again."""
        alert = Alert(**fields)
        if (alert.rule, alert.step) not in self._known_alerts:
            self._known_alerts.add((alert.rule, alert.step))
            self.alerts.append(alert)
            self._last_alerts[alert.rule] = max(alert.step, self._last_alerts.get(alert.rule, 0))


def _as_alert(line: Mapping[str, Any]) -> dict[str, Any]:
    factor = line.get("learning_rate_factor", 1.0)
    return {
        "rule": "fault_answered",
        "severity": "warning",
        "step": line["step"],
        "value": factor,
        "message": f"the run answered by `{line.get('answer')}`: {line.get('reason')}",
        "advice": f"nothing to do unless it continues; the learning rate is {factor:g} of its plan",
        "action": "log",
    }
