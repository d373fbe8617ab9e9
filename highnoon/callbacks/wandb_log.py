"""Sends metrics and alerts to Weights & Biases."""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Mapping
from typing import Any

from highnoon.callbacks.event_callback import EventCallback
from highnoon.config import ConfigError, require_text, require_texts, resolve_keys, shown


class WandbLog(EventCallback):
    """Sends the metrics of log points and evaluations, and alerts, to Weights & Biases.

    A resumed run continues the same W&B run. If `wandb` is not installed, the run continues without it, with
    a warning.

    Args:
        project: The W&B project.
        name: Name of the run; None takes the `run_name` of the run, or lets W&B choose.
        config: The configuration of the run that W&B shows.
        **options: Other arguments of `wandb.init`, such as `entity`, `tags` or `mode="offline"`.

    Raises:
        ConfigError: If an argument has the wrong type.
    """

    def __init__(
        self,
        project: str = "highnoon",
        name: str | None = None,
        config: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        require_text("project", project)
        if name is not None:
            require_text("name", name)
        if config is not None and not isinstance(config, Mapping):
            raise ConfigError(f"`config` must be a mapping; received {shown(config)}")
        for option in ("id", "entity", "group", "mode", "dir"):
            if options.get(option) is not None:
                require_text(option, options[option])
        if options.get("tags") is not None:
            require_texts("tags", options["tags"])
        _require_known(options)
        self.project, self.name, self.config, self.options = project, name, config, options
        self._run_id: str | None = options.get("id")
        self._run: Any = None

    def state_dict(self) -> dict[str, Any]:
        return {"run_id": self._run_id}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._run_id = state["run_id"]

    def on_event(self, event: dict[str, Any]) -> None:
        if event["event"] == "train_begin":
            self._start(event)
        elif self._run is None:
            return
        elif event["event"] in ("log", "evaluation"):
            self._run.log(event["metrics"], step=event["step"])
        elif event["event"] == "alert":
            self._run.alert(
                title=event["rule"],
                text=f"step {event['step']}: {event['message']}; {event['advice']}",
                level={"info": "INFO", "warning": "WARN", "critical": "ERROR"}[event["severity"]],
            )

    def close(self) -> None:
        if self._run is not None:
            self._run.finish()
            self._run = None

    def _start(self, event: dict[str, Any]) -> None:
        try:
            wandb = importlib.import_module("wandb")
        except ImportError:
            warnings.warn(
                "metrics are not sent to Weights & Biases, because its package is not installed: "
                "pip install 'highnoon[wandb]'",
                stacklevel=2,
            )
            return
        facts = {key: event[key] for key in ("total_steps", "num_parameters") if key in event}
        arguments: dict[str, Any] = {"project": self.project, "resume": "allow"}
        arguments["name"] = event.get("run_name") if self.name is None else self.name
        arguments["config"] = {**facts, **(self.config or {})}
        self._run = wandb.init(**(arguments | self.options | {"id": self._run_id}))
        self._run_id = self._run.id


def _require_known(options: Mapping[str, Any]) -> None:
    """Checks the names of options against the installed version of `wandb`.

    Raises:
        ConfigError: If `wandb.init` has no such argument.
    """
    if not options:
        return
    try:
        wandb = importlib.import_module("wandb")
    except ImportError:
        return  # the run warns that nothing is sent
    parameters = inspect.signature(wandb.init).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        resolve_keys(options, set(parameters), "`wandb.init`")
