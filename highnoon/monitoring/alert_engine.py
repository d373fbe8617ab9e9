"""Applies alert rules to the metrics of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from highnoon.config import require_count
from highnoon.files.shown import shown
from highnoon.monitoring.alert import Alert
from highnoon.monitoring.metrics.metric_names import MEASURED, canonical_record, goes_back
from highnoon.monitoring.rules.alert_rule import AlertRule
from highnoon.monitoring.rules.default_rules import default_rules
from highnoon.monitoring.rules.expression_rule import parse_rule
from highnoon.monitoring.run_facts import RunFacts


class AlertEngine:
    """Turns lines of metrics into alerts. Alerts depend only on the lines: a file gives the same ones as the
    run.

    Args:
        rules: Rules, or expressions for `parse_rule`; None uses `default_rules()`.
        vocab_size: Vocabulary size of the model; None uses the value in the first line of the run.

    Raises:
        ValueError: If two rules have the same name, or an expression cannot be parsed.

    Example:

    ```python
    from highnoon.monitoring import AlertEngine

    engine = AlertEngine(["train/loss > 4 for 2"])
    for step, loss in enumerate([5.0, 6.0, 7.0], start=1):
        for alert in engine.observe({"event": "log", "step": step, "train/loss": loss}):
            print(alert.step, alert.message)
    ```
    """

    def __init__(
        self,
        rules: Sequence[AlertRule | str | Mapping[str, Any]] | None = None,
        vocab_size: int | None = None,
    ) -> None:
        given = default_rules() if rules is None else rules
        self.rules = [rule if isinstance(rule, AlertRule) else parse_rule(rule) for rule in given]
        names = [rule.name for rule in self.rules]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"there are two rules `{name}`; give one of them another `name`")
        self.run = RunFacts(None if vocab_size is None else require_count("vocab_size", vocab_size))
        self._last_steps: dict[str, int] = {}

    @property
    def firing(self) -> set[str]:
        """Names of the rules whose alert is active."""
        return {rule.name for rule in self.rules if rule.told is not None}

    def observe(self, record: Mapping[str, Any]) -> list[Alert]:
        """Returns the new alerts of one line; lines without metrics, or of earlier steps, give none."""
        record = canonical_record(record)
        if self.run.vocab_size is None:
            self.run.vocab_size = record.get("vocab_size")
        event = record["event"]
        if goes_back(record):
            self._go_back(record["step"])
        if event not in MEASURED or record["step"] <= self._last_steps.get(event, -1):
            return []
        self._last_steps[event] = record["step"]
        if self.run.enter(record.get("stage"), record["step"]):
            for rule in self.rules:
                rule.restart()
        alerts = (rule.observe(record, self.run) for rule in self.rules)
        return [alert for alert in alerts if alert is not None]

    def _go_back(self, step: int) -> None:
        """Prepares for repeated steps after this one, with other data."""
        self._last_steps = {event: min(last, step) for event, last in self._last_steps.items()}
        for rule in self.rules:
            rule.restart()

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of all rules as JSON values."""
        return {
            "run": dataclasses.asdict(self.run),
            "last_steps": dict(self._last_steps),
            "rules": {rule.name: rule.state_dict() for rule in self.rules},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores the state of rules by name; new rules start without state.

        Raises:
            ValueError: If a step or a count is not an integer.
        """
        run, last_steps = RunFacts(**state["run"]), dict(state["last_steps"])
        counts = [run.stage_began, run.num_stages, *last_steps.values()]
        if any(type(count) is not int for count in counts):
            raise ValueError(f"steps and counts of alerts must be integers; received {shown(counts)}")
        self.run, self._last_steps = run, last_steps
        for rule in self.rules:
            rule.load_state_dict(state["rules"].get(rule.name, {}))
