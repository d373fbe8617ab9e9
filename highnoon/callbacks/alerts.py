"""Applies alert rules to a run and acts when one fires."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from highnoon.callbacks.event_callback import EventCallback
from highnoon.config import ConfigError
from highnoon.files.nearest_name import unknown_name
from highnoon.files.printable import printable
from highnoon.files.shown import shown
from highnoon.monitoring import ACTIONS, Alert, AlertEngine, AlertRule, default_rules, parse_rule

_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "critical": logging.CRITICAL}
_CUT = 0.5


class Alerts(EventCallback):
    """Applies alert rules to each log point and evaluation.

    An alert is written to the log (`highnoon.alerts`). Its action determines what else happens: `"log"` does
    nothing, `"event"` sends an `alert` event to all callbacks, `"stop"` also stops the run cleanly, and
    `"cut_rate"` also halves the optimizer's `learning_rate_factor`. A rule fires once, and re-arms when its
    condition clears. The state of the rules is in the checkpoint, so a resumed run gives the same alerts as
    an uninterrupted one.

    Args:
        rules: Rules in addition to `default_rules()`: lines such as `"train/grad_norm > 50 for 3 -> stop"`,
            mappings (see `parse_rule`), or rule objects.
        actions: Other actions of rules, by name; None removes the rule.
        vocab_size: Vocabulary size of the model; None asks the model.

    Raises:
        ValueError: If a rule cannot be parsed, or a rule or an action does not exist; at the start of the
            run, if a rule cuts the learning rate and the optimizer has no `cut_learning_rate`.

    Example:

    ```python
    from highnoon.callbacks import Alerts

    alerts = Alerts(
        rules=[
            "train/grad_norm > 50 for 3 -> cut_rate",
            {"when": "val/loss > train/loss + 1", "severity": "info", "advice": "use more data"},
        ],
        actions={"non_finite": "stop", "plateau": None},
    )
    ```
    """

    def __init__(
        self,
        rules: Sequence[AlertRule | str | Mapping[str, Any]] = (),
        actions: Mapping[str, str | None] | None = None,
        vocab_size: int | None = None,
    ) -> None:
        super().__init__()
        # YAML gives None where a key has nothing after it.
        rules = _require_rules(() if rules is None else rules)
        actions = _require_actions({} if actions is None else actions)
        own = [rule if isinstance(rule, AlertRule) else parse_rule(rule) for rule in rules]
        self._engine = AlertEngine(_with_actions([*default_rules(), *own], actions), vocab_size)
        self._logger = logging.getLogger("highnoon.alerts")
        self._off: set[str] = set()

    def state_dict(self) -> dict[str, Any]:
        return self._engine.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._engine.load_state_dict(state)

    def on_event(self, event: dict[str, Any]) -> None:
        if event["event"] == "train_begin":
            self._require_factor()
            self._engine.observe({"vocab_size": getattr(self.model, "vocab_size", None), **event})
        elif event["event"] == "fault_answered":
            self._engine.observe(event)
        elif event["event"] == "stage_begin":
            self._off = set(event.get("alerts_off", ()))
        elif event["event"] in ("log", "evaluation"):
            for alert in self._engine.observe({**event, **event["metrics"]}):
                if alert.rule not in self._off:
                    self._act(alert, event.get("stage"))

    def _act(self, alert: Alert, stage: str | None) -> None:
        texts = map(printable, (alert.rule, alert.message, alert.advice))
        is_event = {"is_event": alert.action != "log"}
        self._logger.log(_LEVELS[alert.severity], "step %d, %s: %s; %s", alert.step, *texts, extra=is_event)
        if alert.action == "log":
            return
        self.send("alert", stage=stage, **dataclasses.asdict(alert))
        if alert.action == "stop":
            self.model.stop_training = True
        elif alert.action == "cut_rate":
            self.model.optimizer.cut_learning_rate(_CUT)

    def _require_factor(self) -> None:
        cutting = [rule.name for rule in self._engine.rules if rule.action == "cut_rate"]
        optimizer = getattr(self.model, "optimizer", None)
        if cutting and not hasattr(optimizer, "cut_learning_rate"):
            raise ValueError(
                f"the rule `{cutting[0]}` cuts the learning rate, but {type(optimizer).__name__} has no "
                "`cut_learning_rate`; use one of this package's optimizers, or the action `stop`"
            )


def _require_rules(rules: Any) -> Sequence[Any]:
    if isinstance(rules, (str, bytes)) or not isinstance(rules, Sequence):
        raise ConfigError(f"`rules` must be a list of rules; received {shown(rules)}")
    return rules


def _require_actions(actions: Any) -> Mapping[str, str | None]:
    if not isinstance(actions, Mapping):
        raise ConfigError(f"`actions` must map rule names to actions; received {shown(actions)}")
    return actions


def _with_actions(rules: list[AlertRule], actions: Mapping[str, str | None]) -> list[AlertRule]:
    """Returns the rules with the given actions, without those whose action is None."""
    named = {rule.name: rule for rule in rules}
    for name, action in actions.items():
        if name not in named:
            raise ValueError(unknown_name("rule", str(name), named))
        if action is not None and (not isinstance(action, str) or action not in ACTIONS):
            raise ValueError(unknown_name("action", str(action), ACTIONS))
        named[name].action = named[name].action if action is None else action
    return [rule for rule in rules if actions.get(rule.name, rule.action) is not None]
