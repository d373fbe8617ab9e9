"""The type that each key of a run file must have, checked where the file is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from highnoon.config import (
    ConfigError,
    require_count,
    require_flag,
    require_path,
    require_text,
    require_texts,
    shown,
)


def check_values(values: Mapping[str, Any]) -> None:
    """Checks the values of a run file, of which each key is known, by type.

    What the package checks where it is used (fields of `model` and `training`, arguments of stages, of
    schedulers and of callbacks) is left to `highnoon.cli.run_checks.check_run`.

    Raises:
        ConfigError: a value of another type, naming the key, what was expected and what was received.
    """
    for key, value in values.items():
        if value is None and key in _NULLABLE:
            continue
        _CHECKS[key](key, value)


def _mapping(key: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise ConfigError(f"`{key}` must be a mapping; received {shown(value)}")


def _stages(key: str, value: Any) -> None:
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"`{key}` must be a list; received {shown(value)}")
    for number, stage in enumerate(value, start=1):
        if not isinstance(stage, Mapping):
            raise ConfigError(
                f"stage {number} must be a mapping with `name` and `datasets`; received {shown(stage)}"
            )


def _alerts(key: str, value: Any) -> None:
    _mapping(key, value)
    if not isinstance(value.get("rules", []), (list, tuple)):
        raise ConfigError(f"`rules` of `{key}` must be a list; received {shown(value['rules'])}")
    _mapping(f"{key}.actions", value.get("actions", {}))


def _curriculum(key: str, value: Any) -> None:
    _mapping(key, value)
    require_flag("enabled", value.get("enabled", True))
    _stages(f"{key}.stages", value.get("stages", []))


def _prompts(key: str, value: Any) -> None:
    if isinstance(value, str):
        raise ConfigError(f"`{key}` must be a list of texts; received {shown(value)}")
    for text in require_texts(key, value):
        require_text(key, text)


_NULLABLE = ("preset", "tokenizer", "data_dir", "checkpoint_dir", "keep_every")
_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "preset": require_text,
    "model": _mapping,
    "training": _mapping,
    "stages": _stages,
    "tasks": _mapping,
    "curriculum": _curriculum,
    "tokenizer": require_path,
    "data_dir": require_path,
    "output": require_path,
    "restore_best": require_flag,
    "checkpoint_dir": require_path,
    "epochs_per_stage": require_count,
    "checkpoint_interval": require_count,
    "keep_checkpoints": require_count,
    "keep_every": require_count,
    "log_interval": require_count,
    "eval_interval": require_count,
    "alerts": _alerts,
    "wandb": _mapping,
    "sample_prompts": _prompts,
}
