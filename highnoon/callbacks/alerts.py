"""Watches a run by rules and acts when one fires."""

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
    """Judges each log point and evaluation by rules.

    A rule that fires is written to the log (`highnoon.alerts`). Its action says what happens besides: `"log"`
    nothing, `"event"` sends an `alert` event to all callbacks, `"stop"` and `"cut_rate"` send it and then end
    the run in order, or halve the optimizer's `learning_rate_factor`. A rule speaks once until what it told
    of is over. What the rules remember is in the checkpoint, so a resumed run gives the alerts of one that
    was never stopped.

    Args:
        rules: Rules besides `default_rules()`: lines such as `"train/grad_norm > 50 for 3 -> stop"`, mappings
            (see `parse_rule`), or rule objects.
        actions: Another action for a rule, by its name; None leaves the rule out.
        vocab_size: Token ids of the model; None asks the model.

    Raises:
        ValueError: a rule that cannot be read, or a rule or an action that does not exist; at the run's
            beginning: an optimizer without `learning_rate_factor` where a rule is to cut it.

    Example:

    ```python
    from highnoon.callbacks import Alerts

    alerts = Alerts(
        rules=[
            "train/grad_norm > 50 for 3 -> cut_rate",
            {"when": "val/loss > train/loss + 1", "severity": "info", "advice": "take more data"},
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
        self._logger.log(_LEVELS[alert.severity], "step %d, %s: %s; %s", alert.step, *texts)
        if alert.action == "log":
            return
        self.send("alert", stage=stage, **dataclasses.asdict(alert))
        if alert.action == "stop":
            self.model.stop_training = True
        elif alert.action == "cut_rate":
            factor = self.model.optimizer.learning_rate_factor
            factor.assign(factor * _CUT)

    def _require_factor(self) -> None:
        cutting = [rule.name for rule in self._engine.rules if rule.action == "cut_rate"]
        optimizer = getattr(self.model, "optimizer", None)
        if cutting and not hasattr(optimizer, "learning_rate_factor"):
            raise ValueError(
                f"the rule `{cutting[0]}` is to cut the learning rate, and {type(optimizer).__name__} has no "
                "`learning_rate_factor`; take one of this package's optimizers, or the action `stop`"
            )


def _require_rules(rules: Any) -> Sequence[Any]:
    if isinstance(rules, (str, bytes)) or not isinstance(rules, Sequence):
        raise ConfigError(f"`rules` must be a list of rules; received {shown(rules)}")
    return rules


def _require_actions(actions: Any) -> Mapping[str, str | None]:
    if not isinstance(actions, Mapping):
        raise ConfigError(f"`actions` must map names of rules to actions; received {shown(actions)}")
    return actions


def _with_actions(rules: list[AlertRule], actions: Mapping[str, str | None]) -> list[AlertRule]:
    """Returns the rules that are wanted, each with the action that is wanted."""
    named = {rule.name: rule for rule in rules}
    for name, action in actions.items():
        if name not in named:
            raise ValueError(unknown_name("rule", str(name), named))
        if action is not None and (not isinstance(action, str) or action not in ACTIONS):
            raise ValueError(unknown_name("action", str(action), ACTIONS))
        named[name].action = named[name].action if action is None else action
    return [rule for rule in rules if actions.get(rule.name, rule.action) is not None]
